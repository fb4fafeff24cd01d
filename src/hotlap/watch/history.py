"""What the looks so far have seen: the last of them for graphs and warnings, and memory from the beginning."""

from __future__ import annotations

from collections import deque

from hotlap.diagnose.memory import trend
from hotlap.watch.sample import Sample, computing, in_use

#: Looks that are kept: as many as the widest graph shows.
_KEPT = 512
#: Points of a memory curve; when it has more, every other one is dropped.
_POINTS = 256
_RECENT = 64
#: Seconds from which on a growth is believed, and within which its end must lie: what comes later is no matter of a
#: live view.
_LEAST, _HORIZON = 60.0, 86400.0
#: Seconds between two fits, which take milliseconds.
_FIT = 10.0


class Growth:
    """Memory that may grow: bytes over seconds, about equally far apart."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []
        self._apart = 0.0
        self._fitted = float("-inf")
        #: Bytes a second, where it has grown steadily since the warm-up.
        self.slope: float | None = None

    def add(self, at: float, size: int) -> None:
        if self._points and at - self._points[-1][0] < self._apart:
            return
        self._points.append((at, float(size)))
        if len(self._points) > _POINTS:
            self._points = self._points[::2]
            self._apart = (self._points[-1][0] - self._points[0][0]) / len(self._points)
        if at - self._fitted >= _FIT:
            self._fitted = at
            # One that began late shows in the last points alone, one that is slow in all of them.
            found = trend(self._points) or trend(self._points[-_RECENT:])
            self.slope = None if found is None or found.end - found.start < _LEAST else found.slope

    def seconds_left(self, room: int) -> float | None:
        """Until so many bytes are used up; None where it does not grow, or not soon."""
        left = None if self.slope is None else max(0, room) / self.slope
        return left if left is not None and left < _HORIZON else None


class History:
    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=_KEPT)
        self.processes = Growth()
        self.gpus: dict[int, Growth] = {}

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        if sample.processes is not None and sample.processes.held is not None:
            self.processes.add(sample.elapsed, sample.processes.held)
        if len(self.samples) > 1 and self.samples[-2].guessed and computing(sample.gpus):
            self.gpus.clear()
        for gpu in in_use(sample):
            if gpu.memory_used is not None:
                self.gpus.setdefault(gpu.index, Growth()).add(sample.elapsed, gpu.memory_used)

    def last(self, seconds: float) -> list[Sample]:
        """The looks of the last so many seconds."""
        now = self.samples[-1].elapsed if self.samples else 0.0
        return [sample for sample in self.samples if sample.elapsed >= now - seconds]
