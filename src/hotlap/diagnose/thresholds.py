"""Every threshold of the diagnosis, each with its reason. Nothing else in this package holds a figure that decides.

None of them makes a verdict flip between two opposite claims: just under a threshold a cause is bounded by the same
few per cent as just above it, and the report of what will not help says so.
"""

from __future__ import annotations

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

#: Seconds to hand one batch from a worker to the loop: queue, unpickling, mapping shared memory. 0.5 ms were measured
#: for a ready batch of two small tensors on 2 cores. A fetch that takes less cannot be hidden by a worker.
WORKER_HANDOVER = 500e-6

#: With so little computing beside the wait, the number of workers that would keep up means nothing.
WORKERS_COUNTED = 1000

#: Where fetching takes less than this share of the wait, the wait is the workers' own cost.
FETCH_TINY = 0.5

#: Forward seconds per module call under which calling costs about as much as computing: on 2 cores a call that
#: computes next to nothing took 6 us (linear layer) to 46 us (parts of a transformer layer); a CUDA call adds the
#: launch of its kernels.
DISPATCH_CPU = 60e-6
DISPATCH_CUDA = 100e-6

#: Above the dispatch size the time at stake falls to nothing at this multiple of it, instead of at one edge.
DISPATCH_FADE = 1.5

#: A ratio that calibration measured must exceed this: its own repeats scatter by a few per cent.
MACHINE_GAIN = 1.05

#: The optimizer, recomputation and the work between steps are part of training: below 5 %, a bound of 1.05, nothing
#: is wrong with them.
OPTIMIZER_SHARE = 0.05
RECOMPUTE_SHARE = 0.05
LOOP_SHARE = 0.05

#: A call of ``step()`` takes this long whatever it updates: on 2 cores, over 6 small tensors, SGD took 40 us, fused
#: Adam 70 us and the loop of Adam 180 us.
OPTIMIZER_SECONDS = 100e-6

#: A page fault takes at most about this long, and what the kernel takes beyond it, other system calls take: 1.7 to
#: 2.0 us were measured on 2 cores (``benchmarks/results/page_faults.json``); more threads wait for one another longer.
PAGE_FAULT_SECONDS = 10e-6

#: Where the kernel hands out huge pages by itself a fault clears 2 MiB, 512 times as much: a generous guess.
HUGE_PAGE_FAULT_SECONDS = 1e-3

#: Threads that take pages side by side spend more processor time than the step lasts; still something computes.
FAULTS_AT_MOST = 0.9

#: Checkpointing is needless only with memory to spare: without it, activations can double the peak.
MEMORY_HALF = 0.5

#: Python between the marks (zero_grad, the loop itself) is up to a fifth of a 1 ms step, and less of a longer one ...
OTHER_SHARE = 0.20

#: ... and about this many seconds however short the step is.
OTHER_SECONDS = 250e-6

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
GRAPH_STEPS = 100

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
