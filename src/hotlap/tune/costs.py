"""What a trial takes at least, by those that were made: one for which no time is left is not begun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hotlap.records import Change

_Kind = Literal["compiled", "other"]


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
