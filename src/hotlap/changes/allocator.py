"""Freed memory kept by the process, where the kernel hands it out again at every step."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.faults import fault_seconds
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    seconds = fault_seconds(situation.facts, situation.step_seconds)
    if seconds is None or situation.key("keep_freed_memory"):
        return []
    return [
        Change(
            name="allocator",
            value="keep",
            title="freed memory kept by the process",
            numerics="exact",
            inject={"allocator": "keep"},
            edits={"keep_freed_memory": True},
            bound=situation.bound_of(seconds),
            note="the process gives no memory back to the system until it ends",
        )
    ]
