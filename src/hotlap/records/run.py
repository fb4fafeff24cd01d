"""What is known about one run of a training command."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hotlap.records.switches import Switches

SCHEMA = 1

#: The leaves of a step, in the order in which a step usually meets them. ``recompute`` and ``gradient_sync``
#: happen inside backward; ``backward`` is what remains of it, so that the leaves add up.
PHASES = (
    "data_wait",
    "host_to_device",
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
    #: Mean of the losses that backward was called on (before gradient scaling).
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
    memory: int | None = None
    gpus: list[str] = []
    #: One-minute load average when the run began.
    load: float | None = None


Outcome = Literal["finished", "stopped", "crashed", "hung", "out_of_memory", "interrupted"]


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
    compiled: bool | None = None
    module_calls: int | None = None
    optimizer: str | None = None
    optimizer_foreach: bool | None = None
    optimizer_fused: bool | None = None
    batch_size: int | None = None
    workers: int | None = None
    prefetch_factor: int | None = None
    persistent_workers: bool | None = None
    pin_memory: bool | None = None
    iterable_dataset: bool | None = None
    #: Whether fetching samples draws random numbers from the global generators of this process.
    fetch_uses_rng: bool | None = None
    #: Seconds to fetch and collate one batch, without waiting (mean), wherever it ran.
    fetch_seconds: float | None = None
    checkpointing: bool | None = None
    world_size: int = 1
    #: Minor page faults of the training process in a step (mean), and processor time in the kernel in it (seconds).
    page_faults: float | None = None
    system_seconds: float | None = None
    #: "default" (glibc's malloc), "kept" (told to keep what is freed) or "replaced" (another one is preloaded).
    allocator: str | None = None
    #: Whether the kernel hands out huge pages without being asked.
    huge_pages: bool | None = None
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    #: What hotlap itself cost per step (seconds, mean), measured by the probe around its own code.
    probe_seconds: float | None = None
    switches: Switches = Switches()


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the training reported with ``hotlap.metric``."""

    name: str
    value: float
    step: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one run of a training command."""

    info: RunInfo
    facts: Facts
    steps: list[Step]
    metrics: list[Metric] = []
    #: What the probe wants to be read: a change that could not be applied, a file it could not write.
    notes: list[str] = []
