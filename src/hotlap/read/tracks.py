"""One format in one log: how its lines are found quickly, and the figures over the run that they become.

The first lines are matched by a pattern that finds each field wherever it is. From them comes a tight one for just
these fields in this order; a block with lines that it misses goes through the first again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress
from typing import cast

from hotlap.read import clock
from hotlap.read.formats import Field, Format
from hotlap.read.numbers import UNITS, count, reader
from hotlap.read.order import AROUND, EpochSteps, Order
from hotlap.read.points import Points

Column = list[bytes | None]

#: Layouts of one format that a log may have: with and without memory, evaluation ...
_LAYOUTS = 3
#: Lines of a block whose layout is looked at, and whose time is read.
_LAYOUT_LINES = 8
_STAMPS = 256
#: With this share of its steps an epoch's mean is that of the epoch.
_WHOLE_EPOCH = 0.9
#: Of a step.
_LITTLE = 1e-6
_UNITS = {
    "rate": "samples/s",
    "rate_steps": "steps/s",
    "tokens": "tokens/s",
    "loss": "",
    "mfu": "",
    "memory_share": "",
    "gpu_utilization": "",
    "epoch_steps": "steps",
}
_NAMES = ("step", "total", "epoch", "epochs")


class Track:
    """What the lines of one format say over the run."""

    def __init__(self, form: Format) -> None:
        self.format = form
        self.points: dict[str, Points] = {}
        #: The step at which each further file begins.
        self.pauses: list[float] = []
        #: Running means and the steps that they are of: at the end of each epoch, and of the one that goes on.
        self._closed: dict[str, list[tuple[float, float]]] = {}
        self._open: dict[str, tuple[float, float]] = {}
        #: The first running mean of the epoch that is open.
        self._begun: dict[str, tuple[float, float]] = {}
        self.order = Order()
        self.lines = 0
        self.total: int | None = None
        self.epochs: int | None = None
        self.ranks: set[int] = set()
        #: Of the lines that are read, where ranks are named.
        self._rank: int | None = None
        self._first: float | None = None
        self._new_file, self._other_rank = True, False
        self._epochs: dict[str, bytes | None] = {}
        self._epoch_steps = EpochSteps()
        self._line: tuple[bytes | None, ...] | None = None
        self._loose = form.loose()
        self._tight: list[tuple[re.Pattern[bytes], list[Field]]] = []

    @property
    def tells_restarts(self) -> bool:
        """Whether a step that goes back is a restart, and cannot be another epoch."""
        return not self.format.counts_anew or self._epoch_steps.named

    def begin_file(self) -> None:
        """What comes is of another file: it goes on with the training, or is another rank's log of the same."""
        self._new_file, self._other_rank = True, False

    def feed(self, text: bytes) -> bytes:
        """Take the lines of this format, and return the others."""
        for pattern, absent in self._tight:
            if any(each.key in text for each in absent):
                continue
            parts = pattern.split(text)
            if len(parts) == 1:
                continue
            prefixes, left = split_gaps(cast("list[bytes]", parts[0 :: pattern.groups + 1]))
            # Lines of several layouts have to be taken together, in the order in which they stand.
            if self.format.key in left and self._loose.search(left):
                continue
            self._rows(_columns(pattern, parts), prefixes)
            return left
        self._learn(text)
        parts = self._loose.split(text)
        if len(parts) == 1:
            return text
        prefixes, left = split_gaps(cast("list[bytes]", parts[0 :: self._loose.groups + 1]))
        self._rows(_columns(self._loose, parts), prefixes)
        return left

    def _learn(self, text: bytes) -> None:
        """Make a tight pattern for lines like the first ones that are not matched by one."""
        if len(self._tight) >= _LAYOUTS:
            return
        layouts, usual = [], self.format.usual is not None
        for match, _ in zip(self._loose.finditer(text), range(_LAYOUT_LINES), strict=False):
            there = [each for each in self.format.fields if match[each.groups[0]] is not None]
            layouts.append(sorted(there, key=lambda each: match.start(each.groups[0])))
            usual = usual and re.match(self.format.usual or b"", match[0]) is not None
        if not layouts or layouts.count(layouts[-1]) < len(layouts) // 2:
            return
        absent = [each for each in self.format.fields if each not in layouts[-1]]
        self._tight.append((self.format.tight(layouts[-1], usual), absent))

    def _rows(self, columns: dict[str, Column], prefixes: list[bytes]) -> None:
        size = len(prefixes)
        self.lines += size
        keep = self._first_rank(prefixes)
        if keep is not None:
            columns = {name: list(compress(column, keep)) for name, column in columns.items()}
            prefixes = list(compress(prefixes, keep))
            self.order.repeated += size - len(prefixes)
        if not prefixes:
            return
        self._whole(columns)
        steps = self._steps(columns)
        if self._new_file:
            self._new_file, self._other_rank = False, self._first is not None and steps[0] <= self._first
            if self._first is None:
                self._first = steps[0]
            elif not self._other_rank:
                self.pauses.append(steps[0])
        if self._other_rank:
            self.order.repeated += len(steps)
            return
        if self.order.goes_on(steps):
            self.order.remember(steps, _rows_of(columns, AROUND))
        else:
            keep = list(map(self.order.take, steps, _rows_of(columns)))
            columns = {name: list(compress(column, keep)) for name, column in columns.items()}
            prefixes, steps = list(compress(prefixes, keep)), list(compress(steps, keep))
        if steps:
            self._figures(columns, steps)
            self._clock(prefixes, steps)

    def _first_rank(self, prefixes: list[bytes]) -> list[bool] | None:
        """Which lines are of the first rank that was seen; None where no rank is named."""
        if not any(clock.rank(prefix) is not None for prefix in prefixes[:_LAYOUT_LINES]):
            return None
        ranks = [clock.rank(prefix) for prefix in prefixes]
        named = [each for each in ranks if each is not None]
        self.ranks.update(named)
        self._rank = named[0] if self._rank is None else self._rank
        return [each is None or each == self._rank for each in ranks]

    def _whole(self, columns: dict[str, Column]) -> None:
        for name in ("total", "epochs"):
            column = columns.pop(name, None)
            if column and column[-1] is not None:
                setattr(self, name, count(column[-1]))

    def _counted(self, columns: dict[str, Column]) -> list[float]:
        """Lines by number from 1, where no step is printed; the same line again has that of the one before."""
        steps = []
        number = max(0.0, self.order.high)
        for row in _rows_of(columns):
            number += row != self._line
            self._line = row
            steps.append(number)
        return steps

    def _steps(self, columns: dict[str, Column]) -> list[float]:
        """Where in the training each line is: of the epochs before, and in this one."""
        column = columns.get("step")
        if column is None:
            return self._counted(columns)
        try:
            steps = list(map(float, cast("list[bytes]", column)))
        except (TypeError, ValueError):
            known = [None if each is None else count(each) for each in column]
            steps, last = [], self.order.high
            for each in known:
                # Lines that name no step come after the one before.
                last = float(each) if each is not None else last + _LITTLE
                steps.append(last)
        epochs, first = columns.get("epoch"), self.format.first_epoch
        if self.format.counts_anew:
            if self._new_file:
                self._epoch_steps.begin_file()
            return self._epoch_steps.over(steps, epochs or [None] * len(steps))
        if first is not None and epochs is not None and self.total:
            before = {each: ((count(each) or first) - first if each else 0) * self.total for each in set(epochs)}
            steps = [step + before[epoch] for step, epoch in zip(steps, epochs, strict=True)]
        return steps

    def _figures(self, columns: dict[str, Column], steps: list[float]) -> None:
        for name, column in columns.items():
            figure, _, unit = name.partition("__")
            if name in _NAMES:
                continue
            if figure.endswith("_mean"):
                self._running_mean(figure, column, columns, unit)
                continue
            x, y = _values(column, steps, unit)
            if not y:
                continue
            points = self.points.setdefault(figure, Points(_unit(figure), self.format.counted))
            points.digits(column)
            points.extend(x, y)

    def means(self, figure: str) -> list[tuple[float, float]]:
        """The running means of the epochs that the log prints, each with the steps that it is of.

        Of an epoch that the log breaks off it is what came after the first line: in few steps the start of the workers,
        which comes once an epoch, would count as often as they do.
        """
        closed = self._closed.get(figure, [])
        return [*closed, *([self._of_epoch(figure)] if figure in self._open else [])]

    def last_mean(self, figure: str) -> float | None:
        """As it was printed."""
        return self._open[figure][0] if figure in self._open else None

    def broken_off(self, figure: str) -> float:
        """Steps from its beginning that are left out of the last epoch's mean, 0 where none are."""
        return self._open[figure][1] - self._of_epoch(figure)[1] if figure in self._open else 0.0

    def _of_epoch(self, figure: str) -> tuple[float, float]:
        (mean, steps), (first, before) = self._open[figure], self._begun[figure]
        if not self.total or steps >= _WHOLE_EPOCH * self.total or before >= steps:
            return mean, steps
        rest = (mean * steps - first * before) / (steps - before)
        return (rest, steps - before) if rest >= 0 else (mean, steps)

    def _running_mean(self, figure: str, column: Column, columns: dict[str, Column], unit: str) -> None:
        epochs, counted = columns.get("epoch"), columns.get("step")
        if epochs is None:
            ends = [len(column) - 1]
        else:
            following = [*epochs[1:], None]
            ends = [at for at, (now, then) in enumerate(zip(epochs, following, strict=True)) if now != then]
        for start, at in zip([0, *(end + 1 for end in ends)], ends, strict=False):
            _, value = _values([column[start], column[at]], [0.0, 0.0], unit)
            if len(value) < 2:
                continue
            epoch = epochs[at] if epochs is not None else None
            # Formats with running means count the steps of an epoch from 0.
            first, last = ((counted is not None and count(counted[each] or b"")) or 0 for each in (start, at))
            if figure not in self._open or self._epochs.get(figure) != epoch:
                if figure in self._open:
                    self._closed.setdefault(figure, []).append(self._of_epoch(figure))
                self._begun[figure] = value[0], first + 1.0
            self._open[figure], self._epochs[figure] = (value[1], last + 1.0), epoch

    def _clock(self, prefixes: Sequence[bytes], steps: Sequence[float]) -> None:
        if not any(prefixes[:_LAYOUT_LINES]):
            return
        every = max(1, len(prefixes) // _STAMPS)
        stamps = [(step, clock.stamp(prefix)) for step, prefix in zip(steps[::every], prefixes[::every], strict=True)]
        known = [(step, at) for step, at in stamps if at is not None]
        points = self.points.setdefault("clock", Points("s"))
        points.extend([step for step, _ in known], [at for _, at in known])


def _columns(pattern: re.Pattern[bytes], parts: list[bytes | None]) -> dict[str, Column]:
    return {name: parts[at :: pattern.groups + 1] for name, at in pattern.groupindex.items()}


def split_gaps(gaps: list[bytes]) -> tuple[list[bytes], bytes]:
    """What stands between matches: the beginning of each matched line, and the other lines."""
    if gaps[0] == b"" and gaps[1:-1].count(b"\n") == len(gaps) - 2:
        return [b""] * (len(gaps) - 1), gaps[-1]
    starts = [gap.rfind(b"\n") + 1 for gap in gaps[:-1]]
    prefixes = [gap[at:] for gap, at in zip(gaps, starts, strict=False)]
    others = [gap[:at] for gap, at in zip(gaps, starts, strict=False) if at > 1]
    return prefixes, b"".join(others) + gaps[-1]


def _rows_of(columns: dict[str, Column], last: int = 0) -> list[tuple[bytes | None, ...]]:
    """What the lines say, or the last ones of them."""
    return list(zip(*(column[-last:] for column in columns.values()), strict=True))


def _unit(figure: str) -> str:
    if figure.endswith(("memory", "total")):
        return "bytes"
    return _UNITS.get(figure, "s")


def _values(column: Column, steps: Sequence[float], unit: str) -> tuple[Sequence[float], list[float]]:
    """The numbers of a column in seconds, bytes or shares, with their steps; what is no number is left out."""
    factor = UNITS.get(unit, 1.0)
    if unit != "duration":
        try:
            found = list(map(float, cast("list[bytes]", column)))
        except (TypeError, ValueError):
            pass
        else:
            return steps, found if factor == 1.0 else [factor * value for value in found]
    read = reader(unit)
    pairs = [
        (step, factor * value)
        for step, text in zip(steps, column, strict=True)
        if text is not None and (value := read(text)) is not None
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]
