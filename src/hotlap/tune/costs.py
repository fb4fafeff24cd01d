"""What a trial takes at least, by those that were made: one for which no time is left is not begun; and what of the
budget is the proof's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hotlap.records import Change

_Kind = Literal["compiled", "other"]


#: Shares of the budget that are the proof's: at least, and at most.
RESERVED = (0.25, 0.4)
#: Of the time that the search has left, so that one candidate that stays unclear does not take it from all others.
SHARE_OF_A_TRIAL = 0.25


class Costs:
    """Seconds of the shortest trial of each kind; before there was one, what is usual."""

    def __init__(self) -> None:
        self._seconds: dict[_Kind, float] = {"compiled": 15.0, "other": 3.0}
        self._tried: set[_Kind] = set()

    def of(self, changes: Sequence[Change]) -> float:
        return self._seconds[_kind(changes)]

    def learn(self, changes: Sequence[Change], seconds: float) -> None:
        kind = _kind(changes)
        self._seconds[kind] = min(seconds, self._seconds[kind]) if kind in self._tried else seconds
        self._tried.add(kind)


def _kind(changes: Sequence[Change]) -> _Kind:
    return "compiled" if any(change.name == "compile" for change in changes) else "other"


def reserved(budget: float, first_look: float) -> float:
    """Seconds of the budget that are the proof's, whose first look takes so many."""
    least, most = (share * budget for share in RESERVED)
    return min(most, max(least, first_look))
