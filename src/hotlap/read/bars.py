"""Progress bars as tqdm draws them: the Hugging Face Trainer's, Lightning's, ultralytics', and people's own.

    Epoch 3:  45%|████▌     | 50/111 [00:21<00:26,  2.3it/s, Loss=0.0123, GPU_Mem=1.2GB]
    `- what is counted           `- position of so many, elapsed, rate (smoothed by tqdm), what the script adds

A bar that starts anew counts on where the one before ended. It names another epoch, or falls back to near 0; a little
behind is another rank that draws the same. Bars of validation, downloads and the like are set apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hotlap.read.numbers import LOOSE, duration, number
from hotlap.read.points import Points
from hotlap.read.tracks import split_gaps

_BAR = re.compile(
    rb"%\|[^|\n]{0,400}\| *(\d+)/(\d+) \[(\d+(?::\d\d){1,2})<[^,\]\n]*"
    rb"(?:, +(?:("
    + LOOSE
    + rb")(it|batch|step|iter|ba)(?:es|s)?/s|("
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
#: Descriptions and times that are remembered.
_MEMORY = 10_000
_UNITS = {"memory": "bytes", "loss": "", "gpu_utilization": "", "rate_steps": "steps/s"}


class _Description(NamedTuple):
    """What stands before a bar: what is counted, without the epoch's number, and the memory that ultralytics prints."""

    counted: bytes
    epoch: int | None = None
    memory: float | None = None


class Bar:
    """The bars of one description: one after the other, as epochs follow each other."""

    def __init__(self) -> None:
        self.points: dict[str, Points] = {}
        self.lines = 0
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
        self._fresh: dict[str, tuple[list[float], list[float], list[bytes]]] = {}

    def draw(self, at: int, total: int, elapsed: float, epoch: int | None) -> bool:
        """Move on; whether that is another position than before."""
        self.lines += 1
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

    def note(self, figure: str, value: float, text: bytes) -> None:
        fresh = self._fresh.get(figure)
        if fresh is None:
            fresh = self._fresh[figure] = ([], [], [])
        fresh[0].append(float(self.done))
        fresh[1].append(value)
        fresh[2].append(text)

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
        self._clocks: dict[bytes, float | None] = {}

    def feed(self, text: bytes) -> bytes:
        """Take the lines that are bars, and return the others."""
        if self.key not in text:
            return text
        parts = _BAR.split(text)
        width = _BAR.groups + 1
        if len(parts) == 1:
            return text
        prefixes, left = split_gaps(parts[0::width])
        for prefix, *row in zip(prefixes, *(parts[at::width] for at in range(1, width)), strict=True):
            self._row(prefix, row)
        for bar in self.bars.values():
            bar.flush()
        self.lines += len(prefixes)
        return left

    def main(self) -> Bar | None:
        """The bar that counts the training's steps: the one with the most time in it, or the one within that."""
        most = max((bar.spent for bar in self.bars.values()), default=0.0)
        long = [bar for bar in self.bars.values() if bar.spent >= _WITHIN * most]
        return max(long, key=lambda bar: (bar.done, bar.spent), default=None)

    def _row(self, prefix: bytes, row: list[bytes]) -> None:
        at, total, clock, rate, _, seconds, added = row
        name = self._name(prefix.rstrip(_PERCENT))
        elapsed = self._clock(clock)
        if name is None or elapsed is None:
            return
        key = (name.counted, int(total))
        bar = self.bars.get(key)
        if bar is None:
            bar = self.bars[key] = Bar()
        if not bar.draw(int(at), key[1], elapsed, name.epoch):
            return
        if rate is not None and (value := number(rate)):
            bar.note("rate_steps", value, rate)
        elif seconds is not None and (value := number(seconds)):
            bar.note("rate_steps", 1 / value, seconds)
        if name.memory is not None:
            bar.note("memory", name.memory, b"")
        if added:
            self._added(bar, added)

    def _clock(self, text: bytes) -> float | None:
        """Seconds; the same ones are drawn many times."""
        if text not in self._clocks:
            if len(self._clocks) > _MEMORY:
                self._clocks.clear()
            self._clocks[text] = duration(text)
        return self._clocks[text]

    def _added(self, bar: Bar, text: bytes) -> None:
        for key, value, unit in _ADDED.findall(text):
            figure, units = _FIGURES.get(key.lower(), ("", {}))
            if unit in units and (found := number(value)) is not None:
                bar.note(figure, found * units[unit], value)

    def _name(self, prefix: bytes) -> _Description | None:
        if prefix not in self._names:
            if len(self._names) > _MEMORY:
                self._names.clear()
            self._names[prefix] = _described(prefix)
        return self._names[prefix]


def _described(prefix: bytes) -> _Description | None:
    ultralytics = _ULTRALYTICS.match(prefix)
    if ultralytics is not None:
        memory = number(ultralytics[2])
        return _Description(b"ultralytics", int(ultralytics[1]), None if memory is None else memory * 2**30)
    if _OTHER.search(prefix):
        return None
    epoch = _EPOCH.search(prefix)
    return _Description(re.sub(rb"\d+", b"#", prefix.strip()), None if epoch is None else int(epoch[1]))
