"""What is concluded from runs: diagnoses, trials, verdicts."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hotlap.records.ablations import Ablations, DataStalls
from hotlap.records.device import DevicePhases
from hotlap.records.effect import SCHEMA, Effect
from hotlap.records.memory import MemoryReport
from hotlap.records.process import Compilation
from hotlap.records.ranks import RankMeans
from hotlap.records.run import Environment, Facts
from hotlap.records.sampled import Sampled
from hotlap.records.stages import StageTree
from hotlap.records.syncs import Syncs

NumericsClass = Literal["exact", "rounding", "trajectory"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The wall clock of the whole process. The parts add up to ``wall``, and nothing is in two of them."""

    wall: float
    #: Until torch was imported; until the first step where that moment is not known.
    startup: float
    #: What the steps before the steady state took beyond a steady step (caches, autotuning), without compilation.
    warmup: float
    steps: float
    validation: float
    checkpoint: float
    logging: float
    end: float
    #: From there to the first step: the model and the data are made.
    building: float = 0.0
    #: Compilation and recompilation by ``torch.compile``, whenever it happened.
    compiling: float = 0.0
    #: Starts of the training's loaders: workers, samplers, the wait for the first batch beyond an ordinary one.
    loader_start: float = 0.0
    #: What the steps that the probe looked at from close by took beyond a steady step.
    measuring: float = 0.0
    #: What no step recorded, between the first and the last.
    unexplained: float = 0.0


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
    #: What may happen to the training, where it is not time that is at stake.
    risk: str | None = None


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
    memory: MemoryReport = MemoryReport()
    #: The ranks side by side; empty where there is one, or where too few steps have a record on all.
    ranks: list[RankMeans] = []
    syncs: Syncs | None = None
    #: Lines of the script that no mark explains; None where no step was watched for it.
    sampled: Sampled | None = None
    compilations: list[Compilation] = []
    #: Where the time goes in the models; None where no step was watched for it.
    stages: StageTree | None = None
    #: What a GPU does in the phases; None where none computes.
    device: DevicePhases | None = None
    #: What was taken away to see what it costs, where that was asked for.
    ablations: Ablations | None = None
    #: What the data side costs by them; None where the batch was not taken away.
    data_stalls: DataStalls | None = None


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
    #: Whether its levers can be switched while the training runs (``hotlap.probe.levers.Lever.live``).
    live: bool = False
    #: By how many bytes it is predicted to change the peak of memory, at least and at most (``changes.memory``). None
    #: where that cannot be told.
    memory: tuple[int, int | None] | None = None
    #: Whether it alters what the loss measures (its terms, the data), so that losses say nothing of quality.
    alters_loss: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}={self.value}"


#: What a tuning is after; see ``hotlap.tune.goals``.
Goal = Literal["throughput", "memory", "time-to-quality", "cost"]

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
    baseline_quality: list[float | None] = []
    candidate_quality: list[float | None] = []


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A measured comparison of one more change against the best set so far."""

    change: Change
    #: Changes that were tried together with it.
    beside: list[Change] = []
    #: Ids of the changes that were already on in both arms.
    against: list[str]
    effect: Effect | None
    judgement: Judgement
    kept: bool
    #: Why it was kept, dropped or not run, in a sentence.
    why: str
    #: Seconds from start to the first step's end, including compilation.
    first_step: float | None = None
    #: By how many seconds its start is longer than that of the set that it was tried on.
    extra_start: float | None = None
    peak_memory: int | None = None
    #: Whether both took turns in one process; what was adopted was measured again in processes of its own.
    live: bool = False

    @property
    def id(self) -> str:
        return " + ".join(change.id for change in [self.change, *self.beside])

    @property
    def title(self) -> str:
        return " + ".join(change.title for change in [self.change, *self.beside])


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """How what was adopted gets into the user's files."""

    #: In the directory of the tuning; None where nothing can be edited.
    patch: str | None
    #: The command with its flags changed; None where no flag is.
    command: list[str] | None = None
    #: Files that it edits: configurations, and those of the script.
    configurations: list[str] = []
    files: list[str] = []
    #: Settings that are written as a user would, and those that ``hotlap.apply`` makes, with the reason.
    native: list[str] = []
    by_apply: dict[str, str] = {}
    #: Whether the patched script trained as the proven run did; None where that is unknown, or no script was edited.
    same: bool | None = None
    evidence: str = ""
    #: The patched script against the script as it is, in blocks; None where no script was edited.
    effect: Effect | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is from what its machine can do."""

    #: Floating-point operations of a step, 2 for each multiply-add.
    flops: float
    #: Per second, in a large matrix product of this type.
    peak: float
    dtype: str
    #: Of a steady step of the baseline.
    step_seconds: float

    @property
    def share(self) -> float:
        return self.flops / self.step_seconds / self.peak


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
    #: The adopted set against the baseline, in fresh processes; else the set that was ``claimed``.
    effect: Effect | None
    judgement: Judgement
    same_training: SameTraining | None
    #: What was to become better (``hotlap.tune.goals``); ``effect`` is a ratio of that.
    goal: Goal = "throughput"
    #: Throughput in the same pairs, where the goal is another.
    speed: Effect | None = None
    #: Median peak of the pairs in bytes: of the baseline, and of the set that was claimed.
    peaks: tuple[int, int] | None = None
    #: What was proven, or could not be.
    claimed: list[Change] = []
    #: The no-op arm inside one process.
    live_no_op: Effect | None = None
    break_even_steps: int | None = None
    #: None where operations could not be counted, or something was adopted.
    limit: Limit | None = None
    #: Where it lies, from where it was made.
    directory: str = ""
    handover: Handover | None = None
    #: Whether the budget left no time for something; the same command again goes on from here.
    unfinished: bool = False
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
