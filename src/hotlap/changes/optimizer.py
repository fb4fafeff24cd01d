"""The optimizer's implementation: one kernel instead of a loop over tensors."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

_FUSED = {"Adam", "AdamW", "SGD", "Adagrad"}
_FOREACH = {*_FUSED, "RMSprop", "NAdam", "RAdam", "Adamax", "Adadelta", "ASGD", "Rprop"}


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    bound = situation.bound("optimizer")
    changes = []
    for value, supported, already in (
        ("fused", _FUSED, facts.optimizer_fused),
        ("foreach", _FOREACH, facts.optimizer_foreach or facts.optimizer_fused),
    ):
        if facts.optimizer in supported and not already:
            changes.append(
                Change(
                    name="optimizer",
                    value=value,
                    title=f"{value} {facts.optimizer}",
                    numerics="rounding",
                    inject={value: True},
                    edits={"optimizer_implementation": value},
                    bound=bound,
                )
            )
    return changes
