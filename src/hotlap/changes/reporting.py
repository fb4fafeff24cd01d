"""Logging that happens less often: each line reads the loss, for which a GPU has to be waited."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: More seldom than this, a log says too little.
_SELDOM = 100


def propose(situation: Situation) -> list[Change]:
    every = situation.key("log_every")
    if not isinstance(every, int) or not 0 < every < _SELDOM:
        return []
    return [
        Change(
            name="log_every",
            value=str(_SELDOM),
            title=f"a log line every {_SELDOM} steps",
            numerics="exact",
            edits={"log_every": _SELDOM},
            # Where a script logs without a library that is known, that is time which no phase explains.
            bound=situation.bound("logging", "other"),
            note=f"now every {every}",
        )
    ]
