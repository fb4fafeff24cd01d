"""Looks at single steps from close by, seldom enough to cost next to nothing on average.

steps   0 ... 5   6   7   8   9   10  ...          each look watches one whole step, from its first training work
looks             A       B       C      A   ...   to that of the next; the record says so (``looked``), and
                                                   nothing about the usual step is concluded from it
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

#: Steps before the first look: the training has hardly warmed up.
FIRST = 6
#: Steps between the first looks, and the least later on.
_SOON, _LATER = 2, 8
#: Looks may take this share of the training's time, besides the first of each.
_SHARE = 0.005
#: ... and become rarer by this factor, however cheap they are.
_RARER = 1.3
#: Where ending a look took more than this share of a step, the step that follows counts as looked at, too.
_NOTICEABLE = 0.02


class Look(Protocol):
    """What watches a step. Called in the training thread, between two steps; an error ends it, not the training.

    One with a ``span`` watches so many steps in a row, none where it is 0 after ``begin``; its ``step_over``, if it has
    one, is called between them.
    """

    def begin(self) -> None:
        """The step that is watched has begun: its input is there, its first training work is about to run."""

    def end(self) -> None:
        """It is over. Nothing may be left patched, hooked or referenced."""

    def undo(self) -> None:
        """Leave nothing patched or hooked, and conclude nothing: the recording is over, or this is a forked child."""

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        """What was seen so far, as lines of ``steps.jsonl``: kind and fields. A later one replaces an earlier one."""


class Looks:
    """Whose turn it is, and when."""

    def __init__(self, looks: list[Look], clock: Callable[[], int]) -> None:
        self.looks = looks
        self.clock = clock
        #: Number of the step before which something is to be done.
        self.next = FIRST if looks else -1
        self.current: Look | None = None
        #: Steps that the current look still watches: one, unless it has a ``span``.
        self.left = 0
        #: How many it has begun to watch.
        self.watched = 0
        self.turn = 0
        self.gap = float(_LATER)
        self.began = 0
        self.usual = 0
        #: When the step that is over ended: where the wait for the next input began, which may be a while ago.
        self.boundary = math.inf

    def between(self, steps: int, now: int, last: int) -> bool:
        """``steps`` are over, the last of which took ``last`` nanoseconds. Return whether the next is watched."""
        if self.current is not None:
            self.left -= 1
            if self.left > 0 and self._goes_on(self.current):
                self.next = steps + 1
                self.watched += 1
                return True
            several = getattr(self.current, "span", 1) > 1
            self._end(steps)
            if several or self.clock() - now > _NOTICEABLE * last:
                return True  # ending it took its time from the step that begins
        if self.next < 0 or steps < self.next or not self.looks:
            return False
        look = self.looks[self.turn % len(self.looks)]
        self.usual = last
        self.turn += 1
        self.next = steps + 1
        try:
            look.begin()
        except Exception:
            with suppress(Exception):
                look.undo()
            self._drop(look)
            return False
        self.left, self.watched = getattr(look, "span", 1), 1
        if not self.left:
            self.next = steps + (_SOON if self.turn < len(self.looks) else round(self.gap))
            return False
        self.current = look
        self.began = now
        return True

    def _end(self, steps: int) -> None:
        look, self.current = self.current, None
        assert look is not None
        try:
            look.end()
        except Exception:
            with suppress(Exception):
                look.undo()
            self._drop(look)
        if self.turn < len(self.looks):
            # Workers hand over in a rhythm; looks in another one, or every long wait would be in a watched step.
            self.next = steps + _SOON - 1 + self.turn % 2
            return
        extra = max(0, self.clock() - self.began - self.usual * self.watched)
        self.gap = max(self.gap * _RARER, extra / (_SHARE * max(self.usual, 1000)))
        self.next = steps + round(self.gap) + self.turn % 3

    def _goes_on(self, look: Look) -> bool:
        """Tell a look of several steps that one of them is over, if it wants to know. Return whether it goes on."""
        try:
            getattr(look, "step_over", bool)()
        except Exception:
            return False
        return True

    def _drop(self, look: Look) -> None:
        self.looks = [each for each in self.looks if each is not look]

    def undo(self) -> None:
        """The recording ends here, in the middle of a step."""
        look, self.current, self.next = self.current, None, -1
        if look is not None:
            with suppress(Exception):
                look.undo()

    def stop(self) -> None:
        """The training is over, perhaps in the middle of a step that is watched."""
        self.boundary = math.inf
        if self.current is not None:
            # One that concludes step by step has whole ones.
            look, cut_off = self.current, self.left > 1 and not hasattr(self.current, "step_over")
            self._end(0)
            if cut_off:
                self._drop(look)
        self.next = -1

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for look in dict.fromkeys(self.looks):  # one may have several turns
            try:
                found += look.lines()
            except Exception:
                self._drop(look)
        return found
