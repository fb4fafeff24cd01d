"""Sequences that are padded less, where the configuration has keys for it."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    bound = situation.bound("host_to_device", "forward", "loss", "backward", "recompute")
    changes = []
    if situation.key("pad_to_max_length") is True:
        changes.append(
            Change(
                name="padding",
                value="longest",
                title="padding to the longest of the batch",
                # What is padded is masked, and sums of other lengths round otherwise.
                numerics="rounding",
                edits={"pad_to_max_length": False},
                bound=bound,
                note="batches have different shapes then, for which a compiled model compiles again",
            )
        )
    if situation.key("group_by_length") is False:
        changes.append(
            Change(
                name="group_by_length",
                value="true",
                title="batches of sequences of like length",
                numerics="trajectory",
                alters_loss=True,
                edits={"group_by_length": True},
                bound=bound,
                note="samples come in another, less random order",
            )
        )
    return changes
