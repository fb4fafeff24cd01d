"""What is concluded from runs: diagnoses, trials, verdicts."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hotlap.records.ablations import Ablations
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
