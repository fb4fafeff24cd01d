"""Which lines belong to the course of a training: each step once, whatever ranks and restarts print.

10 20 30          goes on
10 10 20 20       the same step again: another rank, left out
20 10 30 20       a step that was there a few lines ago: another rank that is behind, left out
80 90 | 60 70     back, and on from there: the training was started again from a checkpoint
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

#: Lines after which another rank has surely printed the same.
AROUND = 64


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
        self._first: float | None = None
        self._last = -1.0
        self._highest = 0.0

    def begin_file(self) -> None:
        """Without an epoch, what comes may be the same steps of another rank."""
        if not self.named:
            self._base, self._last = 0.0, -1.0

    def of(self, at: float, epoch: bytes | None) -> float:
        """The step over the training of a line that says this one, in this epoch."""
        if self._first is None:
            self._first = at
        fell = at < self._last
        if epoch is None:
            if fell and at <= self._first:
                self._base = self._highest
        else:
            self.named = True
            if epoch not in self._before:
                # Where the count goes on, it is not of the epoch.
                self._before[epoch] = self._highest if fell else self._base
            self._base = self._before[epoch]
        self._last = at
        self._highest = max(self._highest, self._base + at)
        return self._base + at


class Order:
    def __init__(self) -> None:
        self.high = -1.0
        self.repeated = 0
        self.accepted = 0
        #: The last step before, and the first after.
        self.restarts: list[tuple[float, float]] = []
        self._recent: deque[tuple[float, Hashable]] = deque(maxlen=AROUND)
        self._behind: list[float] = []

    def goes_on(self, steps: Sequence[float]) -> bool:
        """Whether all of these follow each other and what was before, which is the usual case."""
        if steps[0] <= self.high or not all(map(float.__lt__, steps, steps[1:])):
            return False
        self._behind.clear()
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
            self.high = step
            return True
        if step == self.high or (step, line) in self._recent:
            return False
        if any(step == seen for seen, _ in self._recent):
            # A rank that is behind, or a restart that repeats the last lines: two steps in a row tell.
            self._behind.append(step)
            if len(set(self._behind)) < 2 or self._behind != sorted(self._behind):
                return False
        self.restarts.append((self.high, self._behind[0] if self._behind else step))
        self._behind.clear()
        self._recent.clear()
        self.high = step
        return True
