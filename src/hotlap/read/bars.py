"""Progress bars as tqdm draws them: the Hugging Face Trainer's, Lightning's, ultralytics', and people's own.

    Epoch 3:  45%|████▌     | 50/111 [00:21<00:26,  2.3it/s, Loss=0.0123, GPU_Mem=1.2GB]
    `- what is counted           `- position of so many, elapsed, rate (smoothed by tqdm), what the script adds

A bar that starts anew counts on where the one before ended. Bars of validation, downloads and the like are set apart.
"""

from __future__ import annotations

import re

from hotlap.read.numbers import LOOSE, duration, number
from hotlap.read.points import Points

_BAR = re.compile(
    rb"%\|[^|\n]{0,400}\| *(\d+)/(\d+) \[(\d+(?::\d\d){1,2})<[^,\]\n]*"
    rb"(?:, +(?:("
    + LOOSE
    + rb")(it|batch|step|iter|ba)(?:es|s)?/s|("
    + LOOSE
    + rb")s/(?:it|batch|step|iter|ba)|[^,\]\n]*))?"
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
    rb"valid|eval|test|sanity|predict|download|load|fetch|map|filter|token|generat|sampl|extract|scan|cach|class |"
    rb"saving",
    re.IGNORECASE,
)
#: ``70/1000      6.73G``: epoch and memory as ultralytics prints them, in front of the bar.
_ULTRALYTICS = re.compile(rb"^\s*(\d+)/\d+\s+([\d.]+)G\s")
_UNITS = {"memory": "bytes", "loss": "", "gpu_utilization": "", "rate_steps": "steps/s"}


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

    def draw(self, at: int, total: int, elapsed: float) -> bool:
        """Move on; whether that is another position than before."""
        if at < self.at or (at == self.at == 0 and elapsed < self.elapsed):
            self.steps, self.seconds = self.steps + self.at, self.seconds + self.elapsed
            self.at, self.elapsed, self.bars = 0, 0.0, self.bars + 1
        moved = at > self.at
        if at == self.at:
            elapsed = self.elapsed or elapsed
        self.at, self.total, self.elapsed = at, total, elapsed
        self.lines += 1
        return moved

    @property
    def done(self) -> int:
        return self.steps + self.at

    @property
    def spent(self) -> float:
        return self.seconds + self.elapsed

    def note(self, figure: str, value: float, text: bytes) -> None:
        points = self.points.setdefault(figure, Points(_UNITS.get(figure, "s")))
        points.digits([text])
        points.extend([float(self.done)], [value])


class Bars:
    """All bars of a log."""

    key = b"%|"

    def __init__(self) -> None:
        #: By what they count, and up to where.
        self.bars: dict[tuple[bytes, int], Bar] = {}
        self.lines = 0
        self._names: dict[bytes, tuple[bytes, float | None] | None] = {}

    def feed(self, text: bytes) -> bytes:
        """Take the lines that are bars, and return the others."""
        if self.key not in text:
            return text
        parts = _BAR.split(text)
        rows = list(zip(*(parts[at :: _BAR.groups + 1] for at in range(1, _BAR.groups + 1)), strict=True))
        gaps = parts[0 :: _BAR.groups + 1]
        for gap, row in zip(gaps, rows, strict=False):
            self._row(gap[gap.rfind(b"\n") + 1 :].rstrip(b"0123456789. \t"), row)
        left = [gap[: gap.rfind(b"\n") + 1] for gap in gaps[:-1]]
        self.lines += len(rows)
        return b"".join([piece for piece in left if piece != b"\n"]) + gaps[-1]

    def main(self) -> Bar | None:
        """The bar that counts the training's steps: the one with the most time in it."""
        return max(self.bars.values(), key=lambda bar: (bar.spent, bar.done), default=None)

    def _row(self, prefix: bytes, row: tuple[bytes, ...]) -> None:
        name = self._name(prefix)
        elapsed = duration(row[2])
        if name is None or elapsed is None:
            return
        bar = self.bars.setdefault((name[0], int(row[1])), Bar())
        if not bar.draw(int(row[0]), int(row[1]), elapsed):
            return
        if row[3] is not None and (rate := number(row[3])):
            bar.note("rate_steps", rate, row[3])
        elif row[5] is not None and (seconds := number(row[5])):
            bar.note("rate_steps", 1 / seconds, row[5])
        if name[1] is not None:
            bar.note("memory", name[1], b"")
        if row[6]:
            self._added(bar, row[6])

    def _added(self, bar: Bar, text: bytes) -> None:
        for key, value, unit in _ADDED.findall(text):
            figure, units = _FIGURES.get(key.lower(), ("", {}))
            found = number(value) if unit in units else None
            if found is not None:
                bar.note(figure, found * units[unit], value)

    def _name(self, prefix: bytes) -> tuple[bytes, float | None] | None:
        """What is counted, without the number of the epoch, and the memory that ultralytics prints there."""
        if prefix not in self._names:
            if len(self._names) > 10_000:
                self._names.clear()
            self._names[prefix] = _described(prefix)
        return self._names[prefix]


def _described(prefix: bytes) -> tuple[bytes, float | None] | None:
    ultralytics = _ULTRALYTICS.match(prefix)
    if ultralytics is not None:
        memory = number(ultralytics[2])
        return b"ultralytics", None if memory is None else memory * 2**30
    if _OTHER.search(prefix):
        return None
    return re.sub(rb"\d+", b"#", prefix.strip()), None
