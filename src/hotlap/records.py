"""The records that pass between the rooms, and how they are kept in files.

    RUN DIRECTORY                         read as
    run.json       environment, command   RunInfo      written by launch, whole or not at all
    steps.jsonl    one line a step        Step         appended by the probe, usable when cut off anywhere
                   facts, metrics         dict
    output.log     stdout and stderr

The probe writes its lines by hand (it may import nothing but the standard library), so ``Step`` is the
contract between the two. Times are seconds, sizes bytes. Missing is ``None``, never 0.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from hotlap.errors import RunError

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

NumericsClass = Literal["exact", "rounding", "trajectory"]


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


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The wall clock of the whole process. The parts add up to ``wall``."""

    wall: float
    startup: float
    #: What the steps before the steady state took beyond a steady step (compilation, caches, autotuning).
    warmup: float
    steps: float
    validation: float
    checkpoint: float
    logging: float
    end: float


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


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A named cause, with its evidence."""

    code: str
    title: str
    #: Sentences with the measured figures.
    evidence: list[str]
    #: Seconds per step at stake.
    seconds: float
    #: Share of the mean step's wall time at stake, 0 to 1.
    share: float
    #: The most that removing the cause could give, as a ratio of throughput (Amdahl): 1 / (1 - share).
    bound: float
    remedy: str
    #: Names of the changes that could help (``hotlap.changes``).
    changes: list[str] = []


class WillNotHelp(msgspec.Struct, frozen=True, kw_only=True):
    """A remedy that people try and that cannot pay here, with the most that it could give."""

    remedy: str
    bound: float
    reason: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    findings: list[Finding]
    will_not_help: list[WillNotHelp]
    #: Median seconds of a steady step, and of each phase in it (means over the same steps).
    step_seconds: float
    phases: dict[str, float]
    #: Samples per second of the steady steps, of rank 0 alone where there are several; None where they are unknown.
    throughput: float | None
    budget: Budget
    steady_from: int
    steady_steps: int
    #: Indexes of steps set apart as outliers.
    outliers: list[int] = []


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may be altered."""

    #: E.g. "precision".
    name: str
    #: E.g. "bf16": name and value together identify a change.
    value: str
    title: str
    numerics: NumericsClass
    #: Settings for the probe (``hotlap.probe.levers``), for scripts that have no key for it.
    inject: dict[str, Any] = {}
    #: Edits of configuration keys (dotted path -> value), where the configuration has them.
    edits: dict[str, Any] = {}
    #: The most that it could give (ratio of throughput) by the findings; None when nothing bounds it.
    bound: float | None = None
    #: What it needs or costs, in a sentence.
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}={self.value}"


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """B's throughput divided by A's: the median of the pairs, with an interval."""

    ratio: float
    low: float
    high: float
    #: How many pairs.
    n: int
    #: Coverage of the interval, e.g. 0.99.
    confidence: float
    pairs: list[float]


Judgement = Literal["faster", "not faster", "slower", "unclear"]


class SameTraining(msgspec.Struct, frozen=True, kw_only=True):
    """Whether two configurations train the same, and why we say so."""

    same: bool | None
    numerics: NumericsClass
    evidence: str
    #: Loss of each step: baseline and candidate with the same seed, one pair of curves per seed.
    baseline_losses: list[list[float | None]] = []
    candidate_losses: list[list[float | None]] = []
    #: Quality metric at equal samples (e.g. validation PSNR in dB), per seed.
    metric: str | None = None
    baseline_quality: list[float] = []
    candidate_quality: list[float] = []


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A measured comparison of one more change against the best set so far."""

    change: Change
    #: Ids of the changes that were already on in both arms.
    against: list[str]
    effect: Effect | None
    judgement: Judgement
    kept: bool
    #: Why it was kept, dropped or not run, in a sentence.
    why: str
    #: Seconds from start to the first step's end, including compilation.
    first_step: float | None = None
    peak_memory: int | None = None


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``hotlap tune``: what ``result.json`` holds."""

    schema: int = SCHEMA
    name: str
    command: list[str]
    config: str | None
    environment: Environment
    date: str
    #: Wall seconds that the tuning took.
    seconds: float
    diagnosis: Diagnosis
    #: Diagnosis of the adopted set; None when nothing was adopted.
    optimized: Diagnosis | None
    facts: Facts
    no_op: Effect
    trials: list[Trial]
    skipped: list[Trial]
    adopted: list[Change]
    #: The adopted set against the baseline, in fresh processes.
    effect: Effect | None
    judgement: Judgement
    same_training: SameTraining | None
    break_even_steps: int | None = None
    #: Why the figures may be shaky, each a sentence.
    warnings: list[str] = []


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``hotlap compare``."""

    schema: int = SCHEMA
    name: str
    date: str
    a: list[str]
    b: list[str]
    environment: Environment
    effect: Effect
    judgement: Judgement
    same_training: SameTraining
    a_step_seconds: float
    b_step_seconds: float
    warnings: list[str] = []


Record = TypeVar("Record")


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON record, refusing a newer schema in plain words."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(raw, type=dict[str, Any]).get("schema", 0)
        if isinstance(schema, int) and schema > SCHEMA:
            raise RunError(
                f"{path} has schema {schema}, written by a newer hotlap than this one, which reads up to {SCHEMA}: "
                "upgrade hotlap"
            )
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise RunError(f"{path} is not a hotlap {kind.__name__.lower()} record: {error}") from error


def write_whole(path: Path, text: str | bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens."""
    data = text.encode() if isinstance(text, str) else text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; free some space or choose another place") from error


def write_record(path: Path, record: msgspec.Struct) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
