"""Whether the steps of a run get slower, or change at one step, and which phase does it.

    seconds                      .  .  Trend                seconds        . . . . .  Shift
        |              .  .  .                                  |
        |  .  .  .  .                                           | . . . . .
        +---------------------- chunks of steps                 +---------------------- chunks of steps

Medians of chunks stand for the steps, so stalls and rare slow steps do not count. A machine that gets slower slows
every phase down alike; only what one phase does alone is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median

from hotlap.diagnose.steady import core, scatter
from hotlap.diagnose.thresholds import (
    MAD_TO_SIGMA,
    OUTLIER_SIGMAS,
    SAME_SAMPLES,
    TREND_ALONE,
    TREND_CHUNK,
    TREND_CHUNKS,
    TREND_GROWTH,
    TREND_ORDER,
    TREND_SHARE,
)
from hotlap.records import UNCOUNTED, Step

#: Steps of a chunk that are looked at: of a million steps these say as much as all.
_MOST = 1000


@dataclass(frozen=True)
class Trend:
    """Steps that get slower: seconds at the first and the last of them by the fitted line, and on average."""

    first: float
    last: float
    mean: float
    #: Seconds that each step takes longer than the one before.
    slope: float
    steps: int
    phase: str
    phase_first: float
    phase_last: float

    @property
    def share(self) -> float:
        """Of the growth, what the phase makes up."""
        return (self.phase_last - self.phase_first) / (self.last - self.first)


@dataclass(frozen=True)
class Shift:
    """Steps that take another time from one step on."""

    #: ``Step.i`` of the first that does.
    step: int
    before: float
    after: float
    phase: str
    phase_before: float
    phase_after: float


class _Series:
    """Seconds by chunk, and where the middle of each chunk is."""

    def __init__(self, chunks: Sequence[Sequence[Step]], seconds: Callable[[Sequence[Step]], float]) -> None:
        self.x = [fmean(step.i for step in chunk) for chunk in chunks]
        self.y = [seconds(chunk) for chunk in chunks]

    def slope(self) -> float:
        """Theil and Sen: the median of the slopes between all pairs."""
        return median((b - a) / (w - v) for (v, a), (w, b) in combinations(zip(self.x, self.y, strict=True), 2))

    def line(self, at: float) -> float:
        slope = self.slope()
        return median(y - slope * x for x, y in zip(self.x, self.y, strict=True)) + slope * at

    def order(self) -> float:
        """Kendall's tau: 1 where each chunk is slower than the one before, 0 where there is no order."""
        pairs = list(combinations(self.y, 2))
        return sum((b > a) - (b < a) for a, b in pairs) / len(pairs)

    def misfit_of_line(self) -> list[float]:
        return [y - self.line(x) for x, y in zip(self.x, self.y, strict=True)]

    def misfit_of_split(self, at: int) -> list[float]:
        before, after = self.y[:at], self.y[at:]
        return [*(y - median(before) for y in before), *(y - median(after) for y in after)]


def trend(steps: Sequence[Step]) -> Trend | Shift | None:
    """``steps``: the steady ones. None where they are too few, differ in size, or nothing stands out of the noise."""
    chunks = _chunks(steps)
    if len(chunks) < TREND_CHUNKS or not _same_size(chunks):
        return None
    whole = _Series(chunks, _whole)
    # With one chunk alone on a side a stall would be a shift.
    split = min(range(2, len(chunks) - 1), key=lambda at: _size(whole.misfit_of_split(at)))
    if _size(whole.misfit_of_split(split)) < _size(whole.misfit_of_line()) / 2:
        return _shift(steps, chunks, whole, split)
    return _growth(chunks, whole)


def _growth(chunks: Sequence[Sequence[Step]], whole: _Series) -> Trend | None:
    begin, end = chunks[0][0].i, chunks[-1][-1].i
    first, last = whole.line(begin), whole.line(end)
    noise = MAD_TO_SIGMA * scatter(whole.misfit_of_line())
    grown = last - first
    if first <= 0 or whole.order() < TREND_ORDER or grown < max(TREND_GROWTH * first, OUTLIER_SIGMAS * noise):
        return None
    for phase, series in _phases(chunks):
        before, after = series.line(begin), series.line(end)
        if series.order() >= TREND_ORDER and _alone(after - before, before, grown, first):
            mean = fmean(whole.y)
            count = end - begin
            return Trend(first, last, mean, whole.slope(), count, phase, max(0.0, before), after)
    return None


def _shift(steps: Sequence[Step], chunks: Sequence[Sequence[Step]], whole: _Series, split: int) -> Shift | None:
    before, after = median(whole.y[:split]), median(whole.y[split:])
    noise = MAD_TO_SIGMA * scatter(whole.misfit_of_split(split))
    changed = after - before
    if min(before, after) <= 0 or abs(changed) < max(TREND_GROWTH * min(before, after), OUTLIER_SIGMAS * noise):
        return None
    for phase, series in _phases(chunks):
        low, high = median(series.y[:split]), median(series.y[split:])
        if changed * (high - low) > 0 and _alone(abs(high - low), min(low, high), abs(changed), min(before, after)):
            first, last = chunks[split - 1][0].i, chunks[split][-1].i
            around = [step for step in steps if first <= step.i <= last]
            return Shift(_exactly(around, before, after), before, after, phase, low, high)
    return None


def _exactly(steps: Sequence[Step], before: float, after: float) -> int:
    """The step that divides these best: nearest to one level before it, to the other from it on."""
    wrong = best = sum(abs(_own(step) - after) > abs(_own(step) - before) for step in steps)
    found = steps[0].i
    for step, following in pairwise(steps):
        wrong += 1 if abs(_own(step) - after) < abs(_own(step) - before) else -1
        if wrong < best:
            best, found = wrong, following.i
    return found


def _alone(grown: float, level: float, all_grown: float, all_level: float) -> bool:
    """Whether a phase makes most of the change, and changes far more than the others do for their size."""
    others_level = max(all_level - level, 1e-12)
    others = max(0.0, all_grown - grown) / others_level
    return grown >= TREND_SHARE * all_grown and grown >= TREND_ALONE * others * max(level, 0.0)


def _chunks(steps: Sequence[Step]) -> list[list[Step]]:
    count = min(2 * TREND_CHUNKS, len(steps) // TREND_CHUNK)
    if count < TREND_CHUNKS:
        return []
    ends = [round(k * len(steps) / count) for k in range(count + 1)]
    return [list(steps[a : min(b, a + _MOST)]) for a, b in pairwise(ends)]


def _same_size(chunks: Sequence[Sequence[Step]]) -> bool:
    sizes = [fmean(step.samples or 0 for step in chunk) for chunk in chunks]
    work = [fmean(step.micro_batches for step in chunk) for chunk in chunks]
    return all(max(values) <= SAME_SAMPLES * min(values) for values in (sizes, work))


def _own(step: Step) -> float:
    return step.wall - sum(step.phases.get(phase, 0.0) for phase in UNCOUNTED)


def _whole(chunk: Sequence[Step]) -> float:
    # Logging happens every so often, where a median would not see it.
    return median(core(step) for step in chunk) + fmean(step.phases.get("logging", 0.0) for step in chunk)


def _phases(chunks: Sequence[Sequence[Step]]) -> list[tuple[str, _Series]]:
    names = sorted({name for chunk in chunks for step in chunk for name in step.phases} - set(UNCOUNTED))

    def of(name: str) -> Callable[[Sequence[Step]], float]:
        average = fmean if name == "logging" else median
        return lambda chunk: average([step.phases.get(name, 0.0) for step in chunk])

    return [(name, _Series(chunks, of(name))) for name in names]


def _size(misfits: Sequence[float]) -> float:
    return sum(map(abs, misfits))
