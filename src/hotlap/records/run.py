"""What is known about one run of a training command."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hotlap.records.ablations import Ablations
from hotlap.records.dataset import Dataset
from hotlap.records.device import DevicePhases
from hotlap.records.effect import SCHEMA
from hotlap.records.memory import Memory
from hotlap.records.process import Compilation, LoaderStart, Startup
from hotlap.records.ranks import DataParallel, Rank
from hotlap.records.sampled import Sampled
from hotlap.records.sites import Sites
from hotlap.records.stages import Stages
from hotlap.records.step_time import Gap
from hotlap.records.switches import Switches
from hotlap.records.syncs import Syncs
from hotlap.records.threads import ThreadUse
from hotlap.records.timeline import Timeline
from hotlap.records.trace import Trace

#: The leaves of a step, in the order in which a step usually meets them. ``recompute`` and ``gradient_sync``
#: happen inside backward; ``backward`` is what remains of it, so that the leaves add up.
PHASES = (
    "data_wait",
    "host_to_device",
    "sampling",
    "forward",
    "loss",
    "backward",
    "recompute",
    "gradient_sync",
    "gradient_clip",
    "optimizer",
    "validation",
    "checkpoint",
    "logging",
    "other",
)

#: What a process does with its own data on its own processor, or hands over to its GPU.
COMPUTING = ("sampling", "forward", "loss", "backward", "recompute", "gradient_clip", "optimizer")

#: Phases that happen between steps rather than in every one of them.
BETWEEN = ("validation", "checkpoint", "logging")
#: Those that throughput leaves out: a block that happens to hold one would look slow.
UNCOUNTED = ("validation", "checkpoint")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One optimizer step: from the first input of its first micro-batch to that of the next step."""

    i: int
    #: Start, in seconds of the machine's monotonic clock (the same one in every process).
    t: float
    wall: float
    #: Seconds by leaf phase; together they are ``wall``.
    phases: dict[str, float]
    micro_batches: int = 1
    #: Samples in all micro-batches, None where the batch dimension could not be seen.
    samples: int | None = None
    #: Sum of the losses that backward was called on (before gradient scaling): of it the gradients are.
    loss: float | None = None
    #: Seconds that the controller held this step back; not part of ``wall``.
    paused: float = 0.0
    #: The probe looked at this one from close by, which costs time: it tells nothing about the usual step.
    looked: bool = False


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    hotlap: str
    python: str
    torch: str | None = None
    platform: str = ""
    cpu: str = ""
    #: Cores this process may use (affinity and cgroup), not the cores of the machine.
    cores: int = 1
    #: Of the machine, without hyper-threads.
    physical_cores: int | None = None
    memory: int | None = None
    gpus: list[str] = []
    #: One-minute load average when the run began.
    load: float | None = None
    #: Share of the minute before in which something waited for a core (/proc/pressure/cpu).
    pressure: float | None = None
    kernel: str = ""
    #: Cores of the machine, those that this process may be put on, and how many of them at once (cgroup).
    machine_cores: int | None = None
    affinity: list[int] = []
    cpu_quota: float | None = None
    #: Bytes; of the cgroup, and what was free when the run began.
    memory_limit: int | None = None
    memory_available: int | None = None
    #: Of the cores' clocks; None where the machine does not say, as most virtual ones.
    governor: str | None = None
    boost: bool | None = None
    virtual: bool | None = None
    huge_pages: str | None = None
    #: What torch was built for, and the driver that is there.
    cuda: str | None = None
    driver: str | None = None
    #: Variables that say how many threads there are, and which allocator.
    variables: dict[str, str] = {}


Outcome = Literal["finished", "stopped", "crashed", "hung", "out_of_memory", "interrupted"]
#: What a training did, in a sentence about it; as it stands where it is not named here.
DID: dict[Outcome, str] = {"out_of_memory": "ran out of memory", "interrupted": "was interrupted"}


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds."""

    schema: int = SCHEMA
    name: str
    command: list[str]
    cwd: str
    environment: Environment
    #: Monotonic seconds at which the command was started and had ended.
    started: float
    ended: float
    #: UTC time of the start, ISO 8601.
    date: str
    outcome: Outcome
    exit_code: int | None = None
    #: One sentence on what went wrong, or None.
    reason: str | None = None
    #: Changes that were applied, by name.
    changes: dict[str, Any] = {}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe learnt about the training without changing it. Every field may be unknown."""

    device: str | None = None
    threads: int | None = None
    parameters: int | None = None
    parameter_tensors: int | None = None
    parameter_dtype: str | None = None
    #: Device, dtype of the autocast that the script itself uses, e.g. "bfloat16"; None when off.
    autocast: str | None = None
    channels_last: bool | None = None
    convolutions: int | None = None
    #: Layers whose output for a sample depends on the others of its micro-batch.
    batch_norms: int | None = None
    compiled: bool | None = None
    #: Blocks that occur several times in lists or sequences of the model.
    repeated_blocks: int | None = None
    #: Different shapes that a model's first input had in the first steps: of the model with the most of them.
    input_shapes: int | None = None
    #: Of float32: "highest", "high" (TF32) or "medium" (bfloat16).
    matmul_precision: str | None = None
    cudnn_benchmark: bool | None = None
    #: Settings of torch's allocator on a GPU in the environment.
    cuda_allocator: str | None = None
    module_calls: int | None = None
    optimizer: str | None = None
    optimizer_foreach: bool | None = None
    optimizer_fused: bool | None = None
    #: Bits of a number in the optimizer's state.
    optimizer_bits: int | None = None
    #: Whether it is told to do anything else than its plain arithmetic: amsgrad, maximize, capturable, differentiable.
    optimizer_options: list[str] = []
    #: Weight decay of its first group.
    weight_decay: float | None = None
    #: Of the packages that some changes need, those that this interpreter would find.
    importable: list[str] = []
    #: Whether gradients are filled with zeros (``set_to_none=False``).
    zeroed_gradients: bool | None = None
    batch_size: int | None = None
    #: The most in a step.
    micro_batches: int | None = None
    workers: int | None = None
    prefetch_factor: int | None = None
    persistent_workers: bool | None = None
    pin_memory: bool | None = None
    iterable_dataset: bool | None = None
    #: Whether fetching a batch draws random numbers from the global generators of its process; and whether its samples
    #: do, before they are put together.
    fetch_uses_rng: bool | None = None
    samples_use_rng: bool | None = None
    #: Seconds to fetch and collate one batch, without waiting (mean), wherever it ran.
    fetch_seconds: float | None = None
    #: Its parts: having the samples (``dataset[i]`` for each), and putting them together (``collate_fn``).
    fetch_samples_seconds: float | None = None
    fetch_collate_seconds: float | None = None
    #: Of it: on a core, and ready to run but without one. The rest waits for storage or a network.
    fetch_cpu_seconds: float | None = None
    fetch_queue_seconds: float | None = None
    #: Of it: decoding pictures. The share of those decoded that had been before, by whichever worker that is not
    #: spawned, and the bytes of all others, decoded.
    decode_seconds: float | None = None
    decoded_again_share: float | None = None
    decoded_bytes: float | None = None
    #: In a worker, beside its next fetch: seconds to make of a batch what can be sent (mean), and the bytes of that:
    #: of shared memory, and of what is pickled.
    send_seconds: float | None = None
    sent_bytes: float | None = None
    #: Seconds from the arrival of that to having the batch (mean); with pinned memory in a thread of its own.
    receive_seconds: float | None = None
    #: Of the time that the training waits for its workers, the share in which a later batch had come than the one whose
    #: turn it was; and how many had then (mean).
    head_of_line_share: float | None = None
    batches_behind: float | None = None
    dataset: Dataset = Dataset()
    checkpointing: bool | None = None
    #: What this rank's model says of itself, where it is data parallel.
    data_parallel: DataParallel | None = None
    #: Parts of the model that could be recomputed one by one: blocks of the same class in a row, or the largest parts.
    blocks: int | None = None
    world_size: int = 1
    #: Minor page faults of the training process in a step (mean), and processor time in the kernel in it (seconds).
    page_faults: float | None = None
    #: Those of the training thread that three quarters of the steps have at the least, without what hotlap looks at.
    steady_faults: float | None = None
    #: Processor seconds that a page fault takes on this machine, beyond the writing.
    page_fault_seconds: float | None = None
    system_seconds: float | None = None
    #: Garbage collections that the training thread ran in a step (mean): seconds, how many, and those of everything.
    gc_seconds: float | None = None
    gc_collections: float | None = None
    gc_full: float | None = None
    #: Processor seconds of a step (mean): of the process with all its threads, and of the training thread.
    cpu_seconds: float | None = None
    thread_seconds: float | None = None
    #: Seconds of a step (mean) in which the training thread was ready to run and had no core.
    queue_seconds: float | None = None
    #: Seconds of a step (mean) while these were counted: more than of a steady one where some steps stalled.
    counted_seconds: float | None = None
    thread_use: ThreadUse | None = None
    #: Cores of the machine that had nothing to do while it trained (mean).
    idle_cores: float | None = None
    #: How often in a step (mean) the training thread gave its core up, and how often it was taken from it.
    voluntary_switches: float | None = None
    involuntary_switches: float | None = None
    #: Page faults in a step that had to read from a disk or from swap (mean).
    major_faults: float | None = None
    #: "default" (glibc's malloc), "kept" (told to keep what is freed) or "replaced" (another one is preloaded).
    allocator: str | None = None
    #: Whether the kernel hands out huge pages without being asked.
    huge_pages: bool | None = None
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    #: How often compiled code had to fall back to the interpreter, and after how many compilations of a function it
    #: is not compiled again; None where nothing was compiled.
    graph_breaks: int | None = None
    recompile_limit: int | None = None
    #: What hotlap itself cost per step (seconds, mean), measured by the probe around its own code.
    probe_seconds: float | None = None
    switches: Switches = Switches()
    #: Levers that the script pulls itself, with ``hotlap.apply``.
    applied: dict[str, Any] = {}


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the training reported with ``hotlap.metric``, or printed where that is read."""

    name: str
    value: float
    #: Steps that it had made.
    step: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one run of a training command."""

    info: RunInfo
    facts: Facts
    steps: list[Step]
    metrics: list[Metric] = []
    #: None where the probe did not say when it began.
    startup: Startup | None = None
    compilations: list[Compilation] = []
    loader_starts: list[LoaderStart] = []
    #: What the probe wants to be read: a change that could not be applied, a file it could not write.
    notes: list[str] = []
    #: Those of them that are about changes of the settings of the moment.
    unapplied: list[str] = []
    memory: Memory = Memory()
    #: Every rank that left a record here, rank 0 first; empty where there is only one process that trains.
    ranks: list[Rank] = []
    #: Where Python reads tensors; None where no step was watched.
    syncs: Syncs | None = None
    #: Lines of the script that no mark explains; None where no step was watched for it.
    sampled: Sampled | None = None
    #: Where in the script things happen; None where the probe did not see a training.
    sites: Sites | None = None
    #: Where the time goes in the models; None where no step was watched for it.
    stages: Stages | None = None
    #: What a GPU does in the phases; None where none computes, or no step was watched for it.
    device: DevicePhases | None = None
    #: What was taken away from the training to see what it costs, where that was asked for.
    ablations: Ablations | None = None
    #: A closer look at a few steps, where that was asked for.
    trace: Trace | None = None
    #: What the step takes beyond what its work needs, where the work was counted and the device's rates are known.
    gap: Gap | None = None
    #: A usual step as it went; None where there was none, or the run was not read from its directory.
    timeline: Timeline | None = None
