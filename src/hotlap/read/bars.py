"""Progress bars as tqdm draws them: the Hugging Face Trainer's, Lightning's, ultralytics', and people's own.

    Epoch 3:  45%|████▌     | 50/111 [00:21<00:26,  2.3it/s, Loss=0.0123, GPU_Mem=1.2GB]
    `- what is counted           `- position of so many, elapsed, rate (smoothed by tqdm), what the script adds

A bar that starts anew counts on where the one before ended. It names another epoch, or falls back to near 0; a little
behind is another rank that draws the same. Bars of validation, downloads and the like are set apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import eq, ne
from typing import NamedTuple, cast

from hotlap.read.numbers import LOOSE, duration, number, numbers
from hotlap.read.points import Points
from hotlap.read.tracks import split_gaps

_BAR = re.compile(
    rb"%\|[^|\n]{0,400}\| *(\d+)/(\d+) \[(\d+:\d\d(?::\d\d)?)<[^,\]\n]*"
    rb"(?:, +(?:("
    + LOOSE
    + rb")(?:it|batch|step|iter|ba)(?:es|s)?/s|("
    + LOOSE
    + rb")s/(?:it|batch|step|iter|ba)|\?[^,\]\n]*))?"
    rb"([^\]\n]*)\]?[^\n]*"
)
#: What a script adds behind the rate.
_ADDED = re.compile(rb"(?<![\w.])(\w+)[=:] ?(" + LOOSE + rb")(ms|GB|MB|%|G)?(?=[ ,\]]|$)")
_FIGURES = {
    b"loss": ("loss", {b"": 1.0}),
    b"train_loss": ("loss", {b"": 1.0}),
    b"gpu_mem": ("memory", {b"GB": 2.0**30, b"G": 2.0**30, b"MB": 2.0**20}),
    b"gpu_util": ("gpu_utilization", {b"%": 0.01, b"": 0.01}),
    b"fw": ("forward", {b"ms": 1e-3}),
    b"bw": ("backward", {b"ms": 1e-3}),
}
#: Bars that count something else than steps of a training.
_OTHER = re.compile(
    rb"(?<![a-z])(?:(?:valid|eval|sanity|predict|download|fetch|filter|token|generat|sampl|extract|scan|cach|saving)|"
    rb"(?:val|test(?:s|ed|ing)?|load(?:s|ed|ing)?|map(?:s|ped|ping)?|class)(?![a-z_]))",
    re.IGNORECASE,
)
#: ``70/1000      6.73G``: epoch and memory as ultralytics prints them, in front of the bar.
_ULTRALYTICS = re.compile(rb"^\s*(\d+)/\d+\s+([\d.]+)G\s")
_EPOCH = re.compile(rb"(?<![a-z])epoch[ :=#\[(]*(\d+)", re.IGNORECASE)
#: Steps that a rank may be behind another which draws the same bar; the share of position and time that only a new bar
#: is back to, or so many seconds.
_BEHIND = 3
_MUCH_LESS = 0.5
_SHORT = 1.0
#: A bar with so much of the time of the longest may be within that one, as the steps are within the epochs.
_WITHIN = 0.5
_PERCENT = b"0123456789. \t"
#: Lines that are taken together where they have one layout.
_TOGETHER = 512
_LAYOUTS = 100
#: Descriptions and times that are remembered.
_MEMORY = 10_000
_UNITS = {"memory": "bytes", "loss": "", "gpu_utilization": "", "rate_steps": "steps/s"}


class _Description(NamedTuple):
    """What stands before a bar: what is counted, without the epoch's number, and the memory that ultralytics prints."""

    counted: bytes
    epoch: int | None = None
    memory: float | None = None


class _Rows(NamedTuple):
    """What bars say, line by line: position, time, rate (or seconds a step), and what the script adds."""

    at: list[int]
    clock: list[bytes]
    rate: list[bytes | None]
    seconds: list[bytes | None]
    added: list[bytes]

    def only(self, rows: list[int]) -> tuple[list[bytes | None], list[bytes | None], list[bytes]]:
        """Rate, seconds and what is added, of these."""
        return [self.rate[at] for at in rows], [self.seconds[at] for at in rows], [self.added[at] for at in rows]


class _Layout(NamedTuple):
    """What stands between the numbers that a script adds, and which of them are figures, in what unit."""

    pattern: re.Pattern[bytes]
    figures: list[tuple[int, str, float]]


class Bar:
    """The bars of one description: one after the other, as epochs follow each other."""

    def __init__(self) -> None:
        self.points: dict[str, Points] = {}
        #: Steps and seconds of the bars that have ended, and of the one that is drawn now.
        self.steps = 0
        self.seconds = 0.0
        self.at = 0
        self.total = 0
        self.elapsed = 0.0
        self.bars = 1
        self._epoch: int | None = None
        #: Whether any bar was drawn before its end.
        self._on_the_way = False
        #: Steps, values and what was printed, since the last block.
        self._fresh: dict[str, tuple[list[float], list[float], list[bytes | None]]] = {}

    def draw(self, at: int, total: int, elapsed: float, epoch: int | None) -> bool:
        """Move on; whether that is another position than before."""
        self.total = total
        self._on_the_way |= at < total
        if self._begins(at, elapsed, epoch):
            self.steps, self.seconds = self.steps + self.at, self.seconds + self.elapsed
            self.at, self.elapsed, self.bars = 0, 0.0, self.bars + 1
        elif at < self.at or (epoch is not None and self._epoch is not None and epoch < self._epoch):
            return False
        moved = at > self.at
        if at == self.at:
            elapsed = self.elapsed or elapsed
        self.at, self.elapsed, self._epoch = at, elapsed, epoch
        return moved

    def go_on(self, ats: Sequence[int], elapsed: float) -> None:
        """Move on through positions that rise, of the same epoch as the one before."""
        self._on_the_way |= ats[0] < self.total
        self.at, self.elapsed = ats[-1], elapsed

    def _begins(self, at: int, elapsed: float, epoch: int | None) -> bool:
        """Whether this is another bar than the one that was drawn before, and not that of another rank."""
        if epoch is not None and self._epoch is not None and epoch not in (self._epoch, self._epoch - 1):
            # A bar of epochs may name the one that it is at.
            return at <= self.at or elapsed < self.elapsed
        if at < self.at:
            fell = at <= _MUCH_LESS * self.at and self.at - at > min(_BEHIND, self.total // 2)
            return fell and elapsed <= max(_SHORT, _MUCH_LESS * self.elapsed)
        if at > self.at or (epoch is not None and self._epoch is not None):
            return False
        # The same once more, though later: a bar that is drawn again; unless bars are only drawn at their end.
        return elapsed < self.elapsed or (at == self.total and elapsed != self.elapsed and not self._on_the_way)

    @property
    def done(self) -> int:
        return self.steps + self.at

    @property
    def spent(self) -> float:
        return self.seconds + self.elapsed

    def note(
        self, figure: str, steps: Sequence[float], values: Sequence[float | None], printed: Sequence[bytes | None]
    ) -> None:
        """Keep the values that are there until the end of the block."""
        if None in values:
            there = [value is not None for value in values]
            steps, printed = list(compress(steps, there)), list(compress(printed, there))
            values = list(compress(values, there))
        if not values:
            return
        fresh = self._fresh.setdefault(figure, ([], [], []))
        fresh[0].extend(steps)
        fresh[1].extend(cast("Sequence[float]", values))
        fresh[2].extend(printed)

    def flush(self) -> None:
        for figure, (x, y, printed) in self._fresh.items():
            points = self.points.setdefault(figure, Points(_UNITS.get(figure, "s")))
            points.digits(printed)
            points.extend(x, y)
        self._fresh.clear()


class Bars:
    """All bars of a log."""

    key = b"%|"

    def __init__(self) -> None:
        #: By what they count, and up to where.
        self.bars: dict[tuple[bytes, int], Bar] = {}
        self.lines = 0
        self._names: dict[bytes, _Description | None] = {}
        self._clocks: dict[bytes, float] = {}
        self._layouts: dict[tuple[bytes, ...], _Layout | None] = {}

    def feed(self, text: bytes) -> bytes:
        """Take the lines that are bars, and return the others."""
        if self.key not in text:
            return text
        parts = _BAR.split(text)
        width = _BAR.groups + 1
        if len(parts) == 1:
            return text
        prefixes, left = split_gaps(parts[0::width])
        before = [prefix.rstrip(_PERCENT) for prefix in prefixes]
        columns = [before, *(parts[at::width] for at in range(1, width))]
        if any(map(eq, columns[1], columns[1][1:])):
            # Ranks that draw the same: a bar that has not moved says nothing new.
            drawn = list(zip(*columns[:4], strict=True))
            new = [True, *map(ne, drawn, drawn[1:])]
            columns = [list(compress(column, new)) for column in columns]
        before, ats, totals, *rest = columns
        rows = _Rows(list(map(int, ats)), *rest)
        # Lines of each bar on which it moves, and the steps that they are at.
        moves: dict[Bar, tuple[list[int], list[float]]] = {}
        for start, end in _runs(before, totals, rows.at):
            self._run(before[start], int(totals[start]), rows, range(start, end), moves)
        for bar, (lines, steps) in moves.items():
            rates, each_seconds, added = rows.only(lines)
            _note_rates(bar, steps, rates, each_seconds)
            for at in range(0, len(lines), _TOGETHER):
                self._note_added(bar, steps[at : at + _TOGETHER], added[at : at + _TOGETHER])
            bar.flush()
        self.lines += len(prefixes)
        return left

    def main(self) -> Bar | None:
        """The bar that counts the training's steps: the one with the most time in it, or the one within that."""
        most = max((bar.spent for bar in self.bars.values()), default=0.0)
        long = [bar for bar in self.bars.values() if bar.spent >= _WITHIN * most]
        return max(long, key=lambda bar: (bar.done, bar.spent), default=None)

    def _run(
        self, before: bytes, total: int, rows: _Rows, run: range, moves: dict[Bar, tuple[list[int], list[float]]]
    ) -> None:
        """Take lines of one description whose positions rise."""
        name = self._name(before)
        if name is None:
            return
        bar = self.bars.get((name.counted, total))
        if bar is None:
            bar = self.bars[name.counted, total] = Bar()
        for first in run:
            if bar.draw(rows.at[first], total, self._clock(rows.clock[first]), name.epoch):
                break
        else:
            return
        if first + 1 < run.stop:
            bar.go_on(rows.at[first + 1 : run.stop], self._clock(rows.clock[run.stop - 1]))
        steps = [float(bar.steps + at) for at in rows.at[first : run.stop]]
        if name.memory is not None:
            bar.note("memory", steps, [name.memory] * len(steps), [b""] * len(steps))
        lines, all_steps = moves.setdefault(bar, ([], []))
        lines += range(first, run.stop)
        all_steps += steps

    def _clock(self, text: bytes) -> float:
        """Seconds; the same ones are drawn many times."""
        if text not in self._clocks:
            if len(self._clocks) > _MEMORY:
                self._clocks.clear()
            self._clocks[text] = duration(text) or 0.0
        return self._clocks[text]

    def _note_added(self, bar: Bar, steps: list[float], added: list[bytes]) -> None:
        """Lines nearly always have the same words between their numbers as the first."""
        layout = self._layout(added[0])
        found = layout.pattern.findall(b"\n".join(added)) if layout is not None else []
        if layout is not None and len(found) == len(added):
            for at, figure, factor in layout.figures:
                column = [each[at] for each in found] if layout.pattern.groups > 1 else found
                bar.note(figure, steps, _scaled(column, factor), column)
            return
        for step, text in zip(steps, added, strict=True):
            for key, value, unit in _ADDED.findall(text):
                figure, units = _FIGURES.get(key.lower(), ("", {}))
                if unit in units:
                    bar.note(figure, [step], _scaled([value], units[unit]), [value])

    def _layout(self, text: bytes) -> _Layout | None:
        """How lines like this one look; None where two of its numbers are the same figure, which take turns."""
        matches = list(_ADDED.finditer(text))
        ends = [0, *(at for match in matches for at in match.span(2)), len(text)]
        between = tuple(text[ends[at] : ends[at + 1]] for at in range(0, len(ends), 2))
        if between not in self._layouts:
            if len(self._layouts) > _LAYOUTS:
                self._layouts.clear()
            known = [(_FIGURES.get(match[1].lower(), ("", {})), match[3] or b"") for match in matches]
            figures = [(at, name, units[unit]) for at, ((name, units), unit) in enumerate(known) if unit in units]
            alone = len({name for _, name, _ in figures}) == len(figures)
            pattern = (b"(" + LOOSE + b")").join(map(re.escape, between))
            self._layouts[between] = (
                _Layout(re.compile(b"^" + pattern + b"$", re.MULTILINE), figures) if alone else None
            )
        return self._layouts[between]

    def _name(self, prefix: bytes) -> _Description | None:
        if prefix not in self._names:
            if len(self._names) > _MEMORY:
                self._names.clear()
            self._names[prefix] = _described(prefix)
        return self._names[prefix]


def _runs(before: list[bytes], totals: list[bytes | None], ats: list[int]) -> Iterator[tuple[int, int]]:
    """Where lines begin and end that draw the same bar further and further."""
    start = 0
    for end in range(1, len(ats)):
        if ats[end] <= ats[end - 1] or before[end] != before[start] or totals[end] != totals[start]:
            yield start, end
            start = end
    yield start, len(ats)


def _note_rates(bar: Bar, steps: list[float], rates: list[bytes | None], seconds: list[bytes | None]) -> None:
    printed = [rate or each for rate, each in zip(rates, seconds, strict=True)]
    values = [value or None for value in numbers(printed)]
    if None in rates:
        values = [1 / value if value and not rate else value for value, rate in zip(values, rates, strict=True)]
    bar.note("rate_steps", steps, values, printed)


def _scaled(column: list[bytes], factor: float) -> list[float | None]:
    return [None if value is None else factor * value for value in numbers(column)]


def _described(prefix: bytes) -> _Description | None:
    ultralytics = _ULTRALYTICS.match(prefix)
    if ultralytics is not None:
        memory = number(ultralytics[2])
        return _Description(b"ultralytics", int(ultralytics[1]), None if memory is None else memory * 2**30)
    if _OTHER.search(prefix):
        return None
    epoch = _EPOCH.search(prefix)
    return _Description(re.sub(rb"\d+", b"#", prefix.strip()), None if epoch is None else int(epoch[1]))
