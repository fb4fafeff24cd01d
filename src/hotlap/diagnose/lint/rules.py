"""The rules about configurations, in the order in which their findings are told."""

from __future__ import annotations

from hotlap.diagnose.lint.base import ConfigRule
from hotlap.diagnose.lint.ignored import NothingReads, WithoutGpu
from hotlap.diagnose.lint.loader import DataOverMemory, LargeCache, MoreWorkersThanCores, WithoutWorkers
from hotlap.diagnose.lint.precision import HalfOnCpu, UnscaledHalf, WithoutUnits
from hotlap.diagnose.lint.training import LeftOut, LoggedEveryStep, LongWarmup, MuchValidation, RateNotRescaled
from hotlap.diagnose.lint.vrt_spike import PaddedWindows, TokensBeyondChunk

_RULES: tuple[ConfigRule, ...] = (
    LargeCache(),
    DataOverMemory(),
    MoreWorkersThanCores(),
    WithoutWorkers(),
    WithoutGpu(),
    NothingReads(),
    HalfOnCpu(),
    UnscaledHalf(),
    WithoutUnits(),
    LeftOut(),
    LongWarmup(),
    MuchValidation(),
    RateNotRescaled(),
    LoggedEveryStep(),
    PaddedWindows(),
    TokensBeyondChunk(),
)


def rules_of_configurations() -> tuple[ConfigRule, ...]:
    return _RULES
