"""A diagnosis that says nothing, for launches that are made up."""

from __future__ import annotations

from hotlap.records import Budget, Diagnosis

DIAGNOSIS = Diagnosis(
    findings=[],
    will_not_help=[],
    step_seconds=0.1,
    phases={},
    throughput=None,
    budget=Budget(wall=1, startup=0, warmup=0, steps=1, validation=0, checkpoint=0, logging=0, end=0),
    steady_from=0,
    steady_steps=10,
)
