"""Every threshold of the diagnosis, each with its reason. Nothing else in this package holds a figure that decides.

None of them makes a verdict flip between two opposite claims: just under a threshold a cause is bounded by the same
few per cent as just above it, and the report of what will not help says so.
"""

from __future__ import annotations

from hotlap.workers import HANDOVER

# --- which steps are the training's steady state -----------------------------------------------------------------

#: A MAD times this is a standard deviation where the noise is normal.
MAD_TO_SIGMA = 1.4826

#: A step is set apart beyond this many robust standard deviations: ordinary noise comes there once in millions.
OUTLIER_SIGMAS = 5.0

#: ... and never within 30 % of the median: quiet machines have a MAD near 0, and every small hiccup would count.
OUTLIER_FLOOR = 0.30

#: More slow steps than this share recur, and what recurs belongs to the training: with n workers that are too slow
#: every n-th step waits, which must stay in the means. Scheduler stalls and flushes are rarer. (With over 15 workers
#: the waits are set apart, and DATA04 names them.)
OUTLIERS_AT_MOST = 0.05

#: So many steps in a row must be ordinary before the warm-up has ended: compilers compile again on the second or
#: third step (new shapes, the optimizer's state).
SETTLED_STEPS = 3

#: The median of those steps must come this near to the later median: caches and clocks settle gradually.
SETTLED_FLOOR = 0.10

# --- what can be said from these steps -------------------------------------------------------------------------

#: Fewer steady steps than this have no usable median absolute deviation.
FEW_STEPS = 5

#: With so few steps only what stands far above any noise is named.
FEW_STEPS_SHARE = 0.25

#: ... and never more than this share of a step: the remainder is known no better, and its bound (10) would be anything.
FEW_STEPS_AT_MOST = 0.9

#: Median absolute deviation / median from which the steps scatter too much: ten times that of a quiet machine (1.3 %).
NOISY = 0.15

#: A finding must be at stake of this share of the step: the smallest difference that paired measurement can prove in
#: reasonable time. The uncertainty of the means raises it.
LEAST_SHARE = 0.03

#: A remedy bounded by less than this ratio is listed under what will not help.
WORTH_TRYING = 1.05

#: With too few or too noisy steps it must stay under that bound even if it took this many times as long as seen.
FEW_STEPS_MARGIN = 3.0

# --- the rules ---------------------------------------------------------------------------------------------------

#: Seconds to hand one batch from a worker to the loop. A fetch that takes less cannot be hidden by a worker.
WORKER_HANDOVER = HANDOVER

#: With so little computing beside the wait, the number of workers that would keep up means nothing.
WORKERS_COUNTED = 1000

#: Where fetching takes less than this share of the wait, the wait is the workers' own cost.
FETCH_TINY = 0.5

#: Bytes of a batch that are large: at some 1 GB/s, through new shared memory, twice the handover of a small one.
LARGE_BATCH = 1e6

#: Bytes a second on the way from the samples to the training: a tenth of that, below which something else is done.
SLOWEST_WAY = 1e8

#: The way must explain so much of the wait, by the means of its parts, to be named in place of the workers.
WAY_SHARE = 0.5

#: ... and so must a wait for one batch while later ones are there.
HEAD_OF_LINE = 0.5

#: Of the pictures that were decoded, the share that had been before, from which on keeping them is advised: what is
#: decoded once in an epoch saves nothing before the second.
AGAIN = 0.25

#: Workers that wait for storage or a network half of the time and more leave their cores to others.
FETCH_WAITS = 0.5

#: So many workers for each core, and so many at the least, are advised at most: each takes a process's memory and its
#: start, and storage that serves one request quickly serves many slowly.
WAITING_WORKERS = 4
WAITING_WORKERS_LEAST = 8

#: Forward seconds per module call under which calling costs about as much as computing: on 2 cores a call that
#: computes next to nothing took 6 us (linear layer) to 46 us (parts of a transformer layer); a CUDA call adds the
#: launch of its kernels.
DISPATCH_CPU = 60e-6
DISPATCH_CUDA = 100e-6

#: So many calls of a module for each call of what calls it are a loop over time steps, samples or patches. Layers that
#: share their weights are called up to a dozen times.
REPEATED_CALLS = 20

#: An operator with its part of the module's call takes about this long on a CPU, whatever it computes: 2 to 3 us were
#: measured for those of LSTMCell and Linear at a batch of 1.
OPERATOR_CPU = 4e-6

#: Operators that take so many times as long compute more than they are called, and are no case of calling.
OPERATOR_AT_MOST = 2.0

#: Calling less than a fifth of the step is not worth rewriting a loop.
REPEATED_SHARE = 0.20

#: Above the dispatch size the time at stake falls to nothing at this multiple of it, instead of at one edge.
DISPATCH_FADE = 1.5

#: A ratio that calibration measured must exceed this: its own repeats scatter by a few per cent.
MACHINE_GAIN = 1.05

#: The optimizer, recomputation and the work between steps are part of training: below 5 %, a bound of 1.05, nothing
#: is wrong with them.
OPTIMIZER_SHARE = 0.05
RECOMPUTE_SHARE = 0.05
LOOP_SHARE = 0.05
#: Positions of sequences that are padding in all rows of a batch: below it, there is little to cut.
PADDING_SHARE = 0.2
#: Making data is part of the method: only where it sets the pace is there something to gain.
SAMPLING_SHARE = 0.3

#: A call of ``step()`` takes up to about this long whatever it updates: on 2 cores, over 6 small tensors, SGD took
#: 40 us, fused Adam 70 us and the loop of Adam 180 us, half as much again beside another load.
OPTIMIZER_SECONDS = 300e-6

#: Computing a loss belongs to a training: the usual ones take 2 to 8 % of the step, more of a very short one ...
LOSS_SHARE = 0.20

#: ... and about so long at the least: some calls of operators.
LOSS_SECONDS = 250e-6

#: Clipping by the norm reads every gradient once: under a tenth of the step, a bound of 1.11, nothing is wrong ...
CLIP_SHARE = 0.10

#: ... and one call took 90 us for 6 small tensors on 2 cores.
CLIP_SECONDS = 250e-6

#: Copying to the device: below 5 %, a bound of 1.05, nothing is wrong with it.
COPY_SHARE = 0.05

#: Half of the numbers in a vector register and in a cache line: arithmetic in float64 takes twice as long on a CPU.
#: On GPUs it is 2 to 64 times, by the model.
FLOAT64_CPU = 2.0
FLOAT64_CUDA = 64.0

#: TF32 multiplies up to 8 times as fast as float32 by the data sheets of the GPUs that have it.
TF32_GAIN = 8.0

#: With more convolutions than this share of the parameter tensors (weight and bias: one in two), products of matrices
#: outside of them hardly count.
MOSTLY_CONVOLUTIONS = 0.25

#: So many losses in a row that are not finite are no overflow that a gradient scaler is about to cure.
NOT_FINITE = 3

#: So many losses in a row that agree to the last bit: rounding alone moves a loss that is computed from other numbers.
CONSTANT = 30

#: A gradient scaler halves its scale for each step that it leaves out. Finding the scale takes some of them; later on
#: one in 2000 is usual.
SKIPPED_SHARE = 0.10
SKIPPED_STEPS = 4

#: The probe promises less than this share of the step.
PROBE_SHARE = 0.01

#: What page faults take varies from launch to launch, and clearing a page also brings it into the cache: below a tenth
#: of the step it is seldom a gain that can be shown.
FAULTS_SHARE = 0.10

#: Threads that take pages side by side spend more processor time than the step lasts; still something computes.
FAULTS_AT_MOST = 0.9

#: Checkpointing is needless only with memory to spare: without it, activations can double the peak.
MEMORY_HALF = 0.5

#: Python between the marks (zero_grad, the loop itself) is up to a fifth of a 1 ms step, and less of a longer one ...
OTHER_SHARE = 0.20

#: ... and about this many seconds however short the step is.
OTHER_SECONDS = 250e-6

#: So many samples of a phase tell a line with half of them from one with a tenth ...
SAMPLES = 10

#: ... a line needs some of its own and a share that is worth looking at ...
LINE_SAMPLES, LINE_SHARE = 3, 0.10

#: ... and the watched steps must have spent about what the usual ones do: else what is slow happens in others.
SAMPLED_SHARE = 0.5

#: Forward and backward beyond this share: the step is computing, and little else is left to take away.
COMPUTE_SHARE = 0.60

# --- memory ------------------------------------------------------------------------------------------------------

#: The first part of the points is warm-up: the allocator's pools, caches of kernels, the optimizer's state.
GROWTH_WARMUP = 0.25

#: Of the rest so many are needed: four parts of three, the least that a robust slope can be had from.
GROWTH_POINTS = 12

#: Memory grows steadily when no part of the points grows more slowly than this share of the whole: a cache that fills
#: levels off, and one jump is no growth.
GROWTH_STEADY = 0.5

#: ... and by so many bytes, and by this share of what is in use: allocators and fragments move by less.
GROWTH_LEAST = 4 << 20
GROWTH_SHARE = 0.01

#: A history of numbers takes tens to hundreds of bytes a step, and is meant. The graph of a small loss takes 7 kB.
GROWTH_A_STEP = 2048

#: A training seldom runs for longer than a month; what fills the memory later is no risk.
GROWTH_HORIZON = 30 * 86400.0

#: Graphs pile up when they were counted so often, over so many steps: windows over the last losses are shorter, and a
#: window that is full no longer grows.
GRAPH_COUNTS = 3
GRAPH_STEPS = 30

#: Where the memory grows as well, steadily or by so much over them, so few steps are enough: what is counted and what
#: is measured say the same.
GRAPH_STEPS_GROWING = 8
GRAPH_GROWN = 32 << 20

#: Counts nearer to each other than this many steps are not told apart where there are others.
GRAPH_APART = 10

#: ... and every interval adds at least half a node a step, and none more than twice what another one adds.
GRAPH_NODES = 0.5
GRAPH_EVEN = 2.0

#: What turns private while as much stays mapped is copied on write; below this share of it the process itself grows.
COPIED = 0.3

#: Beyond this share of the memory the kernel takes away what it can, and a larger batch or a validation may end it.
NEARLY_FULL = 0.9

#: So many bytes in swap, and so many page faults a step that read from a disk: less is what nobody uses.
SWAPPED = 256 << 20
SWAP_FAULTS = 0.1
# --- several ranks -----------------------------------------------------------------------------------------------

#: Steps that all ranks must have a record of: with fewer, one of two equal ranks is the slower one in 80 % of them by
#: chance once in twenty times. More than so many say nothing new.
JOINED_STEPS = 10
JOINED_STEPS_AT_MOST = 1000

#: A rank is to blame where it is the slowest in this share of the steps: 8 of 10, or 80 of 100, beyond any chance.
CONSISTENT = 0.80

#: ... and a phase where it explains this share of what the others wait.
EXPLAINS = 0.80

#: The rank with most samples must have this many times as many as the others: less is the last batch of an epoch.
UNEQUAL_SAMPLES = 1.10

#: Ranks that take turns in being slow by their computing: operating systems do that too, in slices of a few ms.
UNEVEN_SECONDS = 5e-3

#: Less than this is the ordinary difference between processes.
RANKS_SHARE = 0.05

#: Some of the communication can never be hidden: the last bucket is ready when backward ends.
SYNC_SHARE = 0.10

#: Synchronising this share of all backward calls is synchronising every one.
EVERY_BACKWARD = 0.95
#: ... and so many micro-batches in a step are accumulation.
ACCUMULATES = 1.5

#: Looks in which no parameter was unused: layers that are dropped at random are unused in some steps only.
UNUSED_LOOKS = 3

# --- the host ----------------------------------------------------------------------------------------------------

#: One watched step may be the one in ten that logs: a line is judged from this many watched steps on.
SYNC_STEPS = 2

#: Young objects are collected in any Python program, at about a hundredth of a short step. On a busy machine, where
#: collections are interrupted like anything else, 6 % was seen; below 8 % nothing is wrong.
GC_SHARE = 0.08

#: Batches up to this size are small whatever the training is. Larger ones may be what its quality needs.
SMALL_BATCH = 4

#: What a small batch could give is counted up to a batch of this size, which hardly any model is too large for.
COUNTED_BATCH = 32

#: The training thread waits this share of the step for a core: a wake-up costs some 20 us, a hundredth of short steps.
QUEUE_SHARE = 0.10

#: A training that keeps this share of the cores busy itself fills the machine: its threads also wait for one another.
CROWDED = 0.8

#: Threads of the process that want a core at once, for each core: a few that wake beside torch's come to 1.1, and 16
#: threads that share their operators on 2 cores came to 3.
OVERSUBSCRIBED = 1.25

#: Half of the 5 ms for which a Python thread may keep the interpreter's lock. Without one that holds it, a thread that
#: lets go has it back in some 50 us.
LOCK_WAIT = 2.5e-3

#: A thread that writes a log or fills a queue is at work for some per cent of the step.
LOCK_SHARE = 0.10
#: ... and so much where the lock itself was not seen to be held.
LOCK_TURNS = 0.3

#: A module call of this many seconds computes tensors that are worth sharing among threads: torch shares out from
#: 32768 elements on, which take about 10 us an operation.
LARGE_CALL = 500e-6

#: For every busy core so many must be idle: a core that the rest of the system wakes now and then is free all the same.
IDLE_CORES = 0.75

#: More threads cost synchronisation and share the memory: less than a fifth of the step is not worth naming.
THREADS_SHARE = 0.20

#: What a GPU does in a phase is known where the lower bound is this near to the upper one.
DEVICE_KNOWN = 0.8

#: A GPU that is at work this share of the step sets its pace: the host could give back the rest at most.
DEVICE_BOUND = 0.8

#: The device had run dry at this share of the marks: one of four phases may end with a long kernel.
DRY = 0.7

#: Handing work over that takes this share of the step longer than doing it: a bound of 1.11.
WAITING_SHARE = 0.10

# --- inputs that grow ---------------------------------------------------------------------------------------------

#: Medians of so many parts of the run stand for the inputs, of which at least half must hold one.
INPUT_CHUNKS = 10

#: They grow by design when hardly any part has smaller ones than one before it: of batches of chance sizes half have.
INPUT_FALLS = 0.1

#: ... and when the last are so many times as large as the first: less moves neither time nor memory by much.
INPUT_GROWTH = 1.1

#: Work and memory may grow with the square of the inputs, as those of attention do, and measuring adds a quarter. What
#: grows by more than that grows for another reason.
INPUT_POWER = 2
INPUT_SLACK = 1.25

#: Allocators take more than a step keeps: fragments, workspaces, copies. Beyond this many times it is something else.
INPUT_MEMORY = 4.0

#: Pairs of points with inputs of one size, in the second half of their time, that it takes to see whether memory grows
#: where these do not.
INPUT_PAIRS = 8

# --- the process around the steps --------------------------------------------------------------------------------

#: Steps whose median stands for them in a trend, and how many such medians it takes: ten in one order by chance have a
#: tau of 0.8 once in many thousand runs.
TREND_CHUNK = 5
TREND_CHUNKS = 10
TREND_ORDER = 0.8

#: A step must have become so much slower by the end: clocks and neighbours move a machine by a tenth.
TREND_GROWTH = 0.20

#: A phase that is named makes up most of the growth, and grows this many times as much as the others for its size: a
#: machine that gets slower slows all of them down alike.
TREND_SHARE = 0.6
TREND_ALONE = 2.0

#: Chunks whose steps differ more in samples or micro-batches tell nothing about each other.
SAME_SAMPLES = 1.1

#: Importing torch and waking a GPU take 2 to 10 s; beyond this a start is of the training's own making.
START_SECONDS = 15.0
#: ... and less than this part of the wall clock is not worth a word.
START_SHARE = 0.5

#: Recompilations of a function after the warm-up: one alone may be for the last, smaller batch of an epoch.
RECOMPILATIONS = 2

#: ``torch.compile`` seldom makes a step more than twice as fast; a run that it must do so in has not paid it back.
COMPILED_AT_MOST = 2.0
#: What people report of it for a common model, to say when it pays.
COMPILED_USUALLY = 1.3
#: Compiling less than this is not worth a word.
COMPILE_SECONDS = 1.0

# --- the stages of a model -----------------------------------------------------------------------------------------

#: A stage from this share of the model's time on is looked into: below it nothing in it could pay.
STAGE_EXPANDED = 0.10

#: The stages that are shown explain this share of what all of them would.
STAGES_EXPLAINED = 0.90

#: A stage of less than this share may be left to the rest of what it is in, and alike stages may differ by as much.
STAGE_SLACK = 0.01

#: Alike stages are shown as one when none of them takes more than so many times the middle one: launches, caches and
#: the first touch of memory make that difference, ten times the work does not.
STAGES_ALIKE = 2.0

#: Watching makes a step slower. Where a phase of the usual step takes this many times what was watched all the same,
#: noise of a busy machine does not explain it: part of it happens outside of modules.
WATCHED_TOO_LITTLE = 1.25

#: A stage with half of the model's time is named.
HEAVY_STAGE = 0.50

#: ... unless it is the model itself but for a few per cent, which says nothing.
WHOLE_MODEL = 0.95

# --- what a log says ----------------------------------------------------------------------------------------------

#: Two ways to know a step's time that differ by more than this are not the same time: printed figures are means and
#: medians of different lines, of few digits.
CLOCKS_DIFFER = 0.10

#: Of a series so many lines are needed to speak of its course.
COURSE_LINES = 20

#: A printed step time of so many medians holds something else than a step: an evaluation, a checkpoint.
OTHER_THAN_STEP = 5.0

#: Under this hit rate a cache costs memory for little; the guide of VRT-Spike asks for 75 %, and calls 60 % a symptom.
HIT_RATE = 0.60
HIT_RATE_GOAL = 0.75
#: Readings of a cache before its rate says anything: in a first epoch nothing can hit.
CACHE_READINGS = 100

#: A device that is used less than half of the time, by its own count.
IDLE_DEVICE = 0.50
