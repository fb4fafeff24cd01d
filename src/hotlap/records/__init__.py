"""The records that pass between the rooms, and how they are kept in files.

    RUN DIRECTORY                         read as
    run.json       environment, command   RunInfo      written by launch, whole or not at all
    steps.jsonl    one line a step        Step         appended by the probe, usable when cut off anywhere
                   facts, metrics         dict
    memory.jsonl   a line a look   MemorySample appended by launch, which sees every process
    ablations.json what was proven        Ablations    written by tune, where that was asked for
    output.log     stdout and stderr

The probe writes its lines by hand (it may import nothing but the standard library), so ``Step`` is the
contract between the two. Times are seconds, sizes bytes. Missing is ``None``, never 0.
"""

from __future__ import annotations

from hotlap.records.ablations import Ablation, Ablations, DataStalls, Saved
from hotlap.records.comparable import busy, differences
from hotlap.records.dataset import Dataset
from hotlap.records.dates import moment_of
from hotlap.records.device import DevicePhase, DevicePhases
from hotlap.records.effect import SCHEMA, Effect
from hotlap.records.estimate import DataEstimate, DataPlan, Part, Remedy, RemedyKind, Verdict
from hotlap.records.files import read_record, write_record, write_whole, written_whole
from hotlap.records.fit import (
    Allowance,
    CardFit,
    LargestBatch,
    MemoryEstimate,
    Moment,
    Setting,
    TrainingEstimate,
    Variant,
)
from hotlap.records.foreseen import (
    Division,
    DryRun,
    Excluded,
    FitOfChange,
    Fits,
    Foreseen,
    Output,
    Prospect,
    SeenBefore,
)
from hotlap.records.lint import ConfigFinding, Lint, Surroundings
from hotlap.records.memory import (
    GraphCount,
    Growth,
    HeldByDataset,
    HeldType,
    Memory,
    MemoryAccount,
    MemoryPart,
    MemoryReport,
    MemorySample,
    OwnCache,
    ProcessMemory,
    ResidentPoint,
    Role,
)
from hotlap.records.optimized import Choice, Filled, Larger, Optimized
from hotlap.records.process import Compilation, LoaderStart, Startup
from hotlap.records.ranks import DataParallel, Rank, RankMeans
from hotlap.records.rates import Calibration, Known, Rate, Rates
from hotlap.records.reading import (
    CacheUse,
    Counted,
    DataTime,
    Figure,
    LogDiagnosis,
    LogSource,
    Origin,
    Reading,
    Restart,
    Series,
    Span,
    Timing,
    WallStep,
)
from hotlap.records.results import (
    Budget,
    Change,
    Comparison,
    Diagnosis,
    Finding,
    Goal,
    Handover,
    Judgement,
    Limit,
    NumericsClass,
    SameTraining,
    Trial,
    Tuning,
    WillNotHelp,
)
from hotlap.records.run import (
    BETWEEN,
    COMPUTING,
    PHASES,
    UNCOUNTED,
    Environment,
    Facts,
    Metric,
    Outcome,
    Run,
    RunInfo,
    Step,
)
from hotlap.records.sampled import Sampled, SampledLine, SampledPhase
from hotlap.records.sites import LoaderSite, ModelSite, OptimizerSite, Site, Sites
from hotlap.records.stages import Stage, StageRow, Stages, StageTree
from hotlap.records.step_time import Band, Gap, GapRow, Horizon, Scaled, ScaledPart, StepTime
from hotlap.records.stored import Differing, FindingShift, StoredComparison, StoredRun
from hotlap.records.switches import Switches
from hotlap.records.syncs import Sync, Syncs
from hotlap.records.threads import PythonThread, ThreadUse
from hotlap.records.timeline import Timeline, TimelineSpan
from hotlap.records.trace import Operator, Trace
from hotlap.records.traced import (
    Launches,
    StreamGaps,
    TraceComparison,
    TracedDevice,
    TracedKernel,
    TracedMemory,
    TracedOperator,
    TracedRank,
    TracedShift,
    TracedStep,
    TraceReading,
)
from hotlap.records.work import Calls, Work

__all__ = [
    "BETWEEN",
    "COMPUTING",
    "PHASES",
    "SCHEMA",
    "UNCOUNTED",
    "Ablation",
    "Ablations",
    "Allowance",
    "Band",
    "Budget",
    "CacheUse",
    "Calibration",
    "Calls",
    "CardFit",
    "Change",
    "Choice",
    "Comparison",
    "Compilation",
    "ConfigFinding",
    "Counted",
    "DataEstimate",
    "DataParallel",
    "DataPlan",
    "DataStalls",
    "DataTime",
    "Dataset",
    "DevicePhase",
    "DevicePhases",
    "Diagnosis",
    "Differing",
    "Division",
    "DryRun",
    "Effect",
    "Environment",
    "Excluded",
    "Facts",
    "Figure",
    "Filled",
    "Finding",
    "FindingShift",
    "FitOfChange",
    "Fits",
    "Foreseen",
    "Gap",
    "GapRow",
    "Goal",
    "GraphCount",
    "Growth",
    "Handover",
    "HeldByDataset",
    "HeldType",
    "Horizon",
    "Judgement",
    "Known",
    "Larger",
    "LargestBatch",
    "Launches",
    "Limit",
    "Lint",
    "LoaderSite",
    "LoaderStart",
    "LogDiagnosis",
    "LogSource",
    "Memory",
    "MemoryAccount",
    "MemoryEstimate",
    "MemoryPart",
    "MemoryReport",
    "MemorySample",
    "Metric",
    "ModelSite",
    "Moment",
    "NumericsClass",
    "Operator",
    "Optimized",
    "OptimizerSite",
    "Origin",
    "Outcome",
    "Output",
    "OwnCache",
    "Part",
    "ProcessMemory",
    "Prospect",
    "PythonThread",
    "Rank",
    "RankMeans",
    "Rate",
    "Rates",
    "Reading",
    "Remedy",
    "RemedyKind",
    "ResidentPoint",
    "Restart",
    "Role",
    "Run",
    "RunInfo",
    "SameTraining",
    "Sampled",
    "SampledLine",
    "SampledPhase",
    "Saved",
    "Scaled",
    "ScaledPart",
    "SeenBefore",
    "Series",
    "Setting",
    "Site",
    "Sites",
    "Span",
    "Stage",
    "StageRow",
    "StageTree",
    "Stages",
    "Startup",
    "Step",
    "StepTime",
    "StoredComparison",
    "StoredRun",
    "StreamGaps",
    "Surroundings",
    "Switches",
    "Sync",
    "Syncs",
    "ThreadUse",
    "Timeline",
    "TimelineSpan",
    "Timing",
    "Trace",
    "TraceComparison",
    "TraceReading",
    "TracedDevice",
    "TracedKernel",
    "TracedMemory",
    "TracedOperator",
    "TracedRank",
    "TracedShift",
    "TracedStep",
    "TrainingEstimate",
    "Trial",
    "Tuning",
    "Variant",
    "Verdict",
    "WallStep",
    "WillNotHelp",
    "Work",
    "busy",
    "differences",
    "moment_of",
    "read_record",
    "write_record",
    "write_whole",
    "written_whole",
]
