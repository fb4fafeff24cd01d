"""Micro-batch against accumulation, at the same effective batch. Only where the configuration has both keys:
a script's own loop over micro-batches cannot be altered from outside without changing what it trains."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    if not situation.has("batch_size", "accumulation_steps"):
        return []
    size, steps = situation.key("batch_size"), situation.key("accumulation_steps")
    options = []
    if steps > 1:
        options.append((size * steps, 1))
        if steps % 2 == 0 and steps > 2:
            options.append((size * 2, steps // 2))
    if size % 2 == 0:
        options.append((size // 2, steps * 2))
    return [
        Change(
            name="micro_batch",
            value=f"{new_size}x{new_steps}",
            title=f"micro-batch {new_size}, {new_steps} to a step",
            # Statistics of another micro-batch are other numbers, and not other roundings.
            numerics="trajectory" if situation.facts.batch_norms else "rounding",
            edits={"batch_size": new_size, "accumulation_steps": new_steps},
            bound=situation.bound("forward", "loss", "backward", "recompute", "data_wait", "other"),
            note=f"the effective batch stays {size * steps}",
        )
        for new_size, new_steps in options
    ]
