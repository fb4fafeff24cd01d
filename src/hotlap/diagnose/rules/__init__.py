"""The catalogue of findings, and the text about each of them."""

from __future__ import annotations

from hotlap.diagnose.described import Described
from hotlap.diagnose.lint.rules import rules_of_configurations
from hotlap.diagnose.rules.base import Entry, Rule
from hotlap.diagnose.rules.batch import SmallMicroBatch
from hotlap.diagnose.rules.compiling import CompileNotPaidBack, Recompiling
from hotlap.diagnose.rules.conclusion import ComputeBound, Healthy, TooLittle, Unexplained
from hotlap.diagnose.rules.config import AnomalyDetection, Debugging, GradedValidation, ProfilerOn
from hotlap.diagnose.rules.copies import SlowCopy
from hotlap.diagnose.rules.data import MuchPadding, NoWorkers, RareWaits, SlowFetch, TooManyWorkers
from hotlap.diagnose.rules.data_transport import HeadOfLine, LargeBatches
from hotlap.diagnose.rules.device import DeviceWaits
from hotlap.diagnose.rules.distributed import (
    ExposedSync,
    NeedlessSearch,
    SlowRank,
    SyncEveryMicroBatch,
    UnequalWork,
    UnevenRanks,
)
from hotlap.diagnose.rules.formats import DoublePrecision, HalfOnCpu, NoTensorFloat, ScalerTrouble
from hotlap.diagnose.rules.host import Crowded, FewThreads, Garbage, Neighbours, SmallBatch, Syncs
from hotlap.diagnose.rules.inputs import GrowingInputs
from hotlap.diagnose.rules.log_base import LogRule
from hotlap.diagnose.rules.log_course import FallingThroughput, LossNotFinite, Restarts
from hotlap.diagnose.rules.log_resources import AlmostFull, GrowingInLog, IdleDevice, LowHitRate
from hotlap.diagnose.rules.log_time import BetweenPrintedSteps, OtherClock, WaitInLog
from hotlap.diagnose.rules.log_traps import CopiesOnly, CountedTwice, LaunchTimes, PartOfStep
from hotlap.diagnose.rules.loop import CheckpointWriting, Logging, Sampling, Validation
from hotlap.diagnose.rules.loss import SlowClipping, SlowLoss
from hotlap.diagnose.rules.measuring import CostlyProbe
from hotlap.diagnose.rules.memory import PageFaults
from hotlap.diagnose.rules.memory_growth import (
    AllocatorRetries,
    GrowingMemory,
    GrowingWorkers,
    NearLimit,
    RetainedGraphs,
)
from hotlap.diagnose.rules.numerics import NotFinite, Unmoved
from hotlap.diagnose.rules.precision import ContiguousLayout, FullPrecision
from hotlap.diagnose.rules.process import AnotherPace, LoaderStarts, SlowerAndSlower, SlowStart
from hotlap.diagnose.rules.repeated import RepeatedCalls
from hotlap.diagnose.rules.stages import HeavyStage, RecomputedStages
from hotlap.diagnose.rules.threads import SharedLock
from hotlap.diagnose.rules.update import NeedlessCheckpointing, SlowOptimizer
from hotlap.errors import UsageError, did_you_mean

#: In this order the rules are checked: ``ComputeBound`` and ``Healthy`` speak only when those before found nothing.
_CATALOGUE: tuple[Rule, ...] = (
    NoWorkers(),
    SlowFetch(),
    TooManyWorkers(),
    RareWaits(),
    MuchPadding(),
    LargeBatches(),
    HeadOfLine(),
    SmallMicroBatch(),
    Syncs(),
    Garbage(),
    RepeatedCalls(),
    SmallBatch(),
    Crowded(),
    FewThreads(),
    DeviceWaits(),
    SharedLock(),
    FullPrecision(),
    DoublePrecision(),
    HalfOnCpu(),
    NoTensorFloat(),
    ScalerTrouble(),
    ContiguousLayout(),
    SlowCopy(),
    SlowLoss(),
    SlowClipping(),
    PageFaults(),
    RetainedGraphs(),
    GrowingMemory(),
    GrowingWorkers(),
    NearLimit(),
    AllocatorRetries(),
    SlowOptimizer(),
    NeedlessCheckpointing(),
    Validation(),
    CheckpointWriting(),
    Logging(),
    Sampling(),
    # What a finding has explained of the waits is left out by those after it.
    SyncEveryMicroBatch(),
    UnequalWork(),
    SlowRank(),
    UnevenRanks(),
    NeedlessSearch(),
    ExposedSync(),
    LoaderStarts(),
    SlowerAndSlower(),
    Recompiling(),
    NotFinite(),
    Unmoved(),
    AnomalyDetection(),
    ProfilerOn(),
    Debugging(),
    GradedValidation(),
    Unexplained(),
    TooLittle(),
    ComputeBound(),
    Healthy(),
    Neighbours(),
    # About the run rather than the steps: said whatever else was found.
    SlowStart(),
    AnotherPace(),
    GrowingInputs(),
    CompileNotPaidBack(),
    HeavyStage(),
    RecomputedStages(),
    CostlyProbe(),
)

#: Of what a log says.
_LOG_CATALOGUE: tuple[LogRule, ...] = (
    WaitInLog(),
    BetweenPrintedSteps(),
    FallingThroughput(),
    LossNotFinite(),
    GrowingInLog(),
    AlmostFull(),
    LowHitRate(),
    IdleDevice(),
    Restarts(),
    OtherClock(),
    PartOfStep(),
    CountedTwice(),
    CopiesOnly(),
    LaunchTimes(),
)


def catalogue() -> tuple[Rule, ...]:
    """Return every rule about a run, in the order of the catalogue."""
    return _CATALOGUE


def log_catalogue() -> tuple[LogRule, ...]:
    """Return every rule about a log that somebody's training printed."""
    return _LOG_CATALOGUE


def rule(code: str) -> Entry:
    """Return the rule about a run or a log with this code, in capitals or not.

    Raises:
        UsageError: no such rule has it.
    """
    found = described(code)
    if isinstance(found, Entry):
        return found
    raise UsageError(f"{found.code} is found in a configuration, by `hotlap lint`, and not in a run")


def everything() -> tuple[Described, ...]:
    """Return every rule: those about a run, about a log, and about a configuration."""
    return *_CATALOGUE, *_LOG_CATALOGUE, *rules_of_configurations()


def described(code: str) -> Described:
    """Return the rule with this code, whatever it is about.

    Raises:
        UsageError: no rule has it.
    """
    known = {each.code: each for each in everything()}
    try:
        return known[code.strip().upper()]
    except KeyError:
        hint = did_you_mean(code.strip().upper(), known) or "; `hotlap explain` lists them"
        raise UsageError(f"there is no finding {code!r}{hint}") from None


def explain(code: str) -> str:
    """Return what a finding means, how it is measured and what to do, in Markdown.

    Raises:
        UsageError: no finding has this code.
    """
    it = described(code)
    parts = [
        f"## {it.code}: {it.title}",
        it.meaning,
        f"**How it is measured.** {it.evidence_needed}",
        f"**What to do.** {it.remedy}",
        f"**Limits.** {it.limits}",
    ]
    if not isinstance(it, Entry):
        parts.append("`hotlap lint` finds it in a configuration, before anything runs.")
        return "\n\n".join(parts) + "\n"
    if it.changes:
        parts.append("**Changes to try.** " + ", ".join(f"`{name}`" for name in it.changes))
    if it.risk:
        parts.append("No time is at stake that this record could tell, so it is listed after what takes time.")
    if it.information:
        parts.append("This is information: nothing is wrong with the training.")
    return "\n\n".join(parts) + "\n"
