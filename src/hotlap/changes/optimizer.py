"""The optimizer's implementation: one kernel instead of a loop over tensors."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.implementation import FOREACH, FUSED, implementation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    bound = situation.bound("optimizer")
    now = implementation(facts)
    changes = []
    for value, supported, already in (
        ("fused", FUSED, now == "fused"),
        ("foreach", FOREACH, now in ("fused", "foreach")),
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
