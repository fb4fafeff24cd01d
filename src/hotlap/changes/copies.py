"""Copies to the GPU from pinned memory, that the program does not wait for."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if facts.device != "cuda" or facts.pin_memory is None:
        return []
    bound = situation.bound("host_to_device")
    if facts.pin_memory:
        return [
            Change(
                name="non_blocking",
                value="true",
                title="copies to the GPU that are not waited for",
                numerics="exact",
                inject={"non_blocking": True},
                live=True,
                bound=bound,
            )
        ]
    return [
        Change(
            name="pin_memory",
            value="true",
            title="pinned batches, copied without waiting",
            numerics="exact",
            inject={"pin_memory": True, "non_blocking": True},
            edits={"pin_memory": True},
            bound=bound,
            note="the batches that are ready are in memory that cannot be swapped out",
        )
    ]
