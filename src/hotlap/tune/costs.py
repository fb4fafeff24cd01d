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


#: First looks of a proof that time is kept for: what turns out to be another training is proven once more without the
#: change that makes it one. A part of the budget that holds fewer is too short for a search and a proof.
FIRST_LOOKS = 2.0


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
    return min(most, max(least, FIRST_LOOKS * first_look))


def until_others(spent: float, budget: float, first_look: float, *, named: bool) -> float:
    """Up to when what trains the same is searched and proven, where other trainings are compared after that.

    Half of what is left is kept for them; all of it where the user named them and a half would be too short.
    """
    half = (budget - spent) / 2
    return spent if named and half < FIRST_LOOKS * first_look else spent + half
