"""Garbage collected every N steps, where collections by counts of allocations take time."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Optimizer steps between two collections.
EVERY = 100


def propose(situation: Situation) -> list[Change]:
    seconds = situation.facts.gc_seconds
    if not seconds or not situation.facts.gc_collections:
        return []
    return [
        Change(
            name="garbage",
            value=str(EVERY),
            title=f"garbage collected every {EVERY} steps, without what is there to stay",
            numerics="exact",
            inject={"collect_every": EVERY},
            live=True,
            edits={"collect_every": EVERY},
            bound=situation.bound_of(seconds),
            note=f"what refers to itself in cycles is kept for up to {EVERY} steps, tensors too",
        )
    ]
