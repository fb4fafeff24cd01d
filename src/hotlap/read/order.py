"""Which lines belong to the course of a training: each step once, whatever ranks and restarts print.

10 20 30          goes on
10 10 20 20       the same step again: another rank, left out
20 10 30 20       a step that was there a few lines ago: another rank that is behind, left out
80 90 | 60 70     back, and on from there: the training was started again from a checkpoint
1..80 1..40 81..  back, and then on where it had been: another rank that writes many lines at once
1..80 1..80 81..160 81..   the same; a restart would not go back to just where the log had been
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence

#: Lines after which another rank has surely printed the same.
AROUND = 64
#: Ranks that write many lines at once write about as many each time.
_UNEVEN = 0.25
#: Where a burst begins, as a share of it; and in bursts, how many of them a restart goes back by at the least.
_ABOUT = 0.1
_FURTHER = 3.0


class EpochSteps:
    """Steps over the training, of lines that count them anew in each epoch and do not say how many there are.

    epoch 1: 50 ... 1000, epoch 2: 50 ... 1000      1050 ... 2000, from the highest so far
    epoch 1: 50 ... 1000, epoch 2: 1050 ... 2000    as they are
    no epoch: 10 ... 150, 10 ... 150                160 ... 300
    """

    def __init__(self) -> None:
        #: Whether lines name epochs.
        self.named = False
        self._before: dict[bytes, float] = {}
        self._base = 0.0
        self._epoch: bytes | None = b""
        self._first: float | None = None
        self._last = -1.0
        self._highest = 0.0

    def begin_file(self) -> None:
        """Without an epoch, what comes may be the same steps of another rank."""
        if not self.named:
            self._base, self._last = 0.0, -1.0

    def over(self, steps: Sequence[float], epochs: Sequence[bytes | None]) -> list[float]:
        """The steps over the training of lines that say these, in these epochs."""
        if self._first is None:
            self._first = steps[0]
        found = []
        for at, epoch in zip(steps, epochs, strict=True):
            if at < self._last or epoch != self._epoch:
                self._turn(at, epoch)
            self._last = at
            step = self._base + at
            if step > self._highest:
                self._highest = step
            found.append(step)
        return found

    def _turn(self, at: float, epoch: bytes | None) -> None:
        """The count falls, or another epoch is named."""
        fell, self._epoch = at < self._last, epoch
        if epoch is None:
            if fell and self._first is not None and at <= self._first:
                self._base = self._highest
        else:
            self.named = True
            if epoch not in self._before:
                # Where the count goes on, it is not of the epoch.
                self._before[epoch] = self._highest if fell else self._base
            self._base = self._before[epoch]


class Order:
    def __init__(self) -> None:
        self.high = -1.0
        self.repeated = 0
        self.accepted = 0
        #: The last step before, and the first after.
        self.restarts: list[tuple[float, float]] = []
        self._recent: deque[tuple[float, Hashable]] = deque(maxlen=AROUND)
        self._behind: list[float] = []
        self._first: float | None = None
        #: Between the last two lines.
        self._gap = math.inf
        #: The furthest that restarts went back from, until the steps have come there again.
        self._left: float | None = None
        #: Restarts in a row that look like ranks in turns, each of which writes many lines at once.
        self._alike = 0
        #: Steps that such a rank writes at once, where they do.
        self._burst: float | None = None

    def goes_on(self, steps: Sequence[float]) -> bool:
        """Whether all of these follow each other and what was before, which is the usual case."""
        if self._first is None:
            self._first = steps[0]
        if self._left is not None or steps[0] <= self.high or not all(map(float.__lt__, steps, steps[1:])):
            return False
        self._behind.clear()
        self._gap = steps[-1] - (steps[-2] if len(steps) > 1 else self.high)
        self.high = steps[-1]
        self.accepted += len(steps)
        return True

    def remember(self, steps: Sequence[float], lines: Sequence[Hashable]) -> None:
        """Note the last lines, so that those of other ranks are known."""
        self._recent.extend(zip(steps[-AROUND:], lines[-AROUND:], strict=True))

    def take(self, step: float, line: Hashable) -> bool:
        """Whether a line belongs to the course; ``line`` is what it says."""
        taken = self._take(step, line)
        self._recent.append((step, line))
        self.repeated += not taken
        self.accepted += taken
        return taken

    def _take(self, step: float, line: Hashable) -> bool:
        if step > self.high:
            self._behind.clear()
            self._pass(step)
            self._gap, self.high = step - self.high, step
            return True
        if step == self.high or (step, line) in self._recent:
            return False
        if self._burst is not None and self.high - step <= _FURTHER * self._burst:
            return False
        if any(step == seen for seen, _ in self._recent):
            # A rank that is behind, or a restart that repeats the last lines: two steps in a row tell.
            self._behind.append(step)
            if len(set(self._behind)) < 2 or self._behind != sorted(self._behind):
                return False
        after = self._behind[0] if self._behind else step
        self._behind.clear()
        if self._in_bursts(after):
            self._are_ranks(self.high - after)
            return False
        self.restarts.append((self.high, after))
        self._recent.clear()
        self._left, self._gap, self._burst = max(self.high, self._left or self.high), math.inf, None
        self.high = step
        return True

    def _pass(self, step: float) -> None:
        """See whether what went back runs up to where it left, or another rank goes on there."""
        if self._left is None or step <= self._left:
            return
        if self.high < self._left - 2 * self._gap and step <= self._left + 2 * self._gap:
            self._are_ranks(self._left - self.restarts[-1][1])
        self._left = None

    def _in_bursts(self, after: float) -> bool:
        """Whether this goes back just to where the log was when it went back before, by about as many steps."""
        if not self.restarts or math.isinf(self._gap):
            return False
        left, began = self.restarts[-1]
        burst = self.high - after
        off = abs(after - left - self._gap)
        alike = abs(burst - (left - began)) <= _UNEVEN * burst and off <= max(self._gap, _ABOUT * burst)
        self._alike = self._alike + 1 if alike else 0
        # The first of them begins with the log itself; where that cannot be seen it may be chance once.
        return alike and (self._alike > 1 or (off <= self._gap and began == self._first))

    def _are_ranks(self, burst: float) -> None:
        self._burst = max(burst, self._burst or 0.0)
        least = self.restarts[-1][0] - (self._alike + _UNEVEN) * burst
        while self.restarts and self.restarts[-1][0] >= least:
            self.restarts.pop()
        self._alike, self._left = 0, None
