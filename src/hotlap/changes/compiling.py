"""torch.compile, judged with its cost."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    if situation.facts.compiled:
        return []
    return [
        Change(
            name="compile",
            value="default",
            title="torch.compile",
            numerics="rounding",
            inject={"compile": "default"},
            edits={"compile_model": True},
            bound=situation.bound("forward", "backward", "recompute"),
            note="the first step compiles; see the break-even",
        )
    ]
