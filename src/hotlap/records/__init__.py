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

from hotlap.records.files import read_record, write_record, write_whole
from hotlap.records.results import (
    Budget,
    Change,
    Comparison,
    Diagnosis,
    Effect,
    Finding,
    Judgement,
    NumericsClass,
    SameTraining,
    Trial,
    Tuning,
    WillNotHelp,
)
from hotlap.records.run import (
    BETWEEN,
    PHASES,
    SCHEMA,
    UNCOUNTED,
    Environment,
    Facts,
    Metric,
    Outcome,
    Run,
    RunInfo,
    Step,
)
from hotlap.records.switches import Switches

__all__ = [
    "BETWEEN",
    "PHASES",
    "SCHEMA",
    "UNCOUNTED",
    "Budget",
    "Change",
    "Comparison",
    "Diagnosis",
    "Effect",
    "Environment",
    "Facts",
    "Finding",
    "Judgement",
    "Metric",
    "NumericsClass",
    "Outcome",
    "Run",
    "RunInfo",
    "SameTraining",
    "Step",
    "Switches",
    "Trial",
    "Tuning",
    "WillNotHelp",
    "read_record",
    "write_record",
    "write_whole",
]
