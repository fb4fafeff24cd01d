"""Activation checkpointing that memory does not ask for."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    if not situation.facts.checkpointing:
        return []
    return [
        Change(
            name="checkpointing",
            value="off",
            title="activations kept instead of recomputed",
            numerics="exact",
            inject={"checkpointing": "off"},
            edits={"use_checkpoint": False},
            bound=situation.bound("recompute"),
            note="takes the memory of the activations",
        )
    ]
