"""A figure over the run in bounded memory: a thinned curve, and what can be said of all values exactly."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from statistics import median

from hotlap.read.numbers import decimals
from hotlap.records import Counted, Series

#: Points of a curve that are kept. Twice as many are halved: every second, every fourth, ...
MOST = 4096
#: Values of a block whose digits are looked at.
_LOOKED_AT = 20


class Points:
    def __init__(self, unit: str = "", over: Counted = "step") -> None:
        self.unit = unit
        self.over = over
        self.x = array("d")
        self.y = array("d")
        self.every = 1
        self.lines = 0
        self.sum = 0.0
        self.finite = 0
        self.low = math.inf
        self.high = -math.inf
        self.bad = 0
        self.bad_at_end = 0
        self.first_bad: float | None = None
        self.last_x = 0.0
        self.last = 0.0
        #: The most digits behind the point that were printed, before any unit was applied.
        self.decimals = 0

    def extend(self, x: Sequence[float], y: Sequence[float]) -> None:
        if not y:
            return
        start = -self.lines % self.every
        self.x.extend(x[start :: self.every])
        self.y.extend(y[start :: self.every])
        self.lines += len(y)
        self.last_x, self.last = x[-1], y[-1]
        while len(self.x) >= 2 * MOST:
            self.x, self.y, self.every = self.x[::2], self.y[::2], 2 * self.every
        total = sum(y)
        if math.isfinite(total):
            self.bad_at_end = 0
        else:
            y = self._without_bad(x, y)
            total = sum(y)
        if y:
            self.sum += total
            self.finite += len(y)
            self.low, self.high = min(self.low, min(y)), max(self.high, max(y))

    def digits(self, printed: Sequence[bytes | None]) -> None:
        self.decimals = max([self.decimals, *(decimals(each) for each in printed[:_LOOKED_AT] if each)])

    def _without_bad(self, x: Sequence[float], y: Sequence[float]) -> list[float]:
        for step, value in zip(x, y, strict=True):
            if math.isfinite(value):
                self.bad_at_end = 0
            else:
                self.bad += 1
                self.bad_at_end += 1
                if self.first_bad is None:
                    self.first_bad = step
        return [value for value in y if math.isfinite(value)]

    @property
    def counted(self) -> str:
        """``12 lines``."""
        return f"{self.lines:,} line{'s' * (self.lines != 1)}"

    @property
    def mean(self) -> float:
        return self.sum / self.finite if self.finite else math.nan

    @property
    def median(self) -> float:
        kept = [value for value in self.y if math.isfinite(value)]
        return median(kept) if kept else math.nan

    def series(self) -> Series:
        return Series(
            unit=self.unit,
            step=list(self.x),
            counted=self.over,
            value=list(self.y),
            lines=self.lines,
            every=self.every,
            mean=self.mean,
            low=self.low,
            high=self.high,
            not_finite=self.bad,
            first_not_finite=self.first_bad,
            not_finite_at_end=self.bad_at_end,
        )
