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
