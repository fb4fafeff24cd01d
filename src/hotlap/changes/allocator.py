"""Freed memory kept by the process, where the kernel hands it out again at every step."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.faults import fault_share
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    mean = sum(situation.diagnosis.phases.values())
    share = fault_share(situation.facts, mean)
    if share is None:
        return []
    return [
        Change(
            name="allocator",
            value="keep",
            title="freed memory kept by the process",
            numerics="exact",
            inject={"allocator": "keep"},
            edits={"keep_freed_memory": True},
            bound=1 / (1 - share),
            note="the process gives no memory back to the system until it ends",
        )
    ]
