"""Channels last for convolutions."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    # None where no kernel has four dimensions: convolutions of sequences and of volumes.
    if not facts.convolutions or facts.channels_last is not False:
        return []
    return [
        Change(
            name="layout",
            value="channels_last",
            title="channels_last memory format",
            numerics="rounding",
            inject={"channels_last": True},
            live=True,
            edits={"channels_last": True},
            bound=situation.bound("forward", "backward", "recompute"),
        )
    ]
