"""Who waits for whom: the records of all ranks side by side, joined by the step.

    rank 0   data ─ forward ─ backward ─ gradient_sync ················│   waits for rank 1
    rank 1   data ─ forward ··················· ─ backward ─ gradient_sync │   waits least: it is the slow one

All ranks leave a synchronisation together. So what a rank waits longer than the one that waits least is time that the
slow one costs it; what even that one waits is the communication itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from hotlap.diagnose.context import Context
from hotlap.diagnose.thresholds import (
    CONSISTENT,
    EXPLAINS,
    JOINED_STEPS,
    JOINED_STEPS_AT_MOST,
    UNEQUAL_SAMPLES,
)
from hotlap.records import COMPUTING, Rank, RankMeans

SYNC = "gradient_sync"
#: Phases after the synchronisation of a step: the others wait for them in the next one.
_AFTER = ("optimizer", "validation", "checkpoint", "logging")


@dataclass(frozen=True)
class Cause:
    """Why a rank is slow: ``phase`` ("computing" for all of ``COMPUTING``) takes ``seconds`` longer than elsewhere."""

    phase: str
    seconds: float


@dataclass(frozen=True)
class Straggler:
    rank: int
    #: Seconds that the others wait for it in a step: the median step, the mean of the others.
    wait: float
    #: Share of the steps in which it waited least.
    consistency: float
    #: None where nothing that was measured explains the wait.
    cause: Cause | None


@dataclass(frozen=True)
class Unevenness:
    """What the ranks wait for one another, step by step."""

    #: Seconds in a step (mean).
    wait: float
    cause: Cause | None
    #: Share of that wait by rank that was waited for.
    by_rank: dict[int, float]


class Joined:
    """The steady steps that every rank has a record of. ``columns[phase][rank position][step]`` are seconds."""

    def __init__(self, ranks: Sequence[Rank], steps: Sequence[int]) -> None:
        self.ranks = list(ranks)
        self.steps = list(steps)
        self.places = [
            [place[step] for step in self.steps]
            for rank in self.ranks
            for place in [{step: index for index, step in enumerate(rank.steps)}]
        ]
        self.phases = sorted({name for rank in self.ranks for name in rank.phases})
        self.waits = self.column(SYNC)

    def column(self, *phases: str) -> list[list[float]]:
        """Seconds of these phases together, by rank and step."""
        found = []
        for rank, places in zip(self.ranks, self.places, strict=True):
            columns = [rank.phases[phase] for phase in phases if phase in rank.phases]
            found.append([sum(column[place] for column in columns) for place in places])
        return found

    def samples(self) -> list[list[int]] | None:
        """Samples by rank and step; None unless all are known."""
        found: list[list[int]] = []
        for rank, places in zip(self.ranks, self.places, strict=True):
            sizes = [size for place in places if (size := rank.samples[place]) is not None]
            if len(sizes) < len(places):
                return None
            found.append(sizes)
        return found

    @property
    def communication(self) -> float:
        """Seconds that even the rank that waits least waits, in a mean step."""
        return fmean(min(waits) for waits in zip(*self.waits, strict=True))


def join(context: Context) -> Joined | None:
    """Return the ranks side by side; None with fewer than two of them, or with too few steps that all have."""
    ranks = context.run.ranks
    if len(ranks) < 2:
        return None
    apart = set(context.outliers)
    common = set.intersection(*(set(rank.steps) for rank in ranks))
    steps = sorted(step for step in common if step >= context.steady_from and step not in apart)
    return Joined(ranks, steps[-JOINED_STEPS_AT_MOST:]) if len(steps) >= JOINED_STEPS else None


def straggler(joined: Joined) -> Straggler | None:
    """Return the rank that the others wait for in most steps; None where there is none."""
    slowest = _slowest(joined)
    place, count = Counter(slowest).most_common(1)[0]
    if count < CONSISTENT * len(slowest):
        return None
    wait = median(_lead(joined.waits, place))
    if wait <= 0:
        return None
    excess = {phase: median(_excess(joined.column(phase), place)) for phase in joined.phases if phase != SYNC}
    computing = median(_excess(joined.column(*COMPUTING), place))
    return Straggler(joined.ranks[place].rank, wait, count / len(slowest), _cause(excess, computing, wait))


def unevenness(joined: Joined) -> Unevenness | None:
    """Return what the ranks wait for the one that is slowest in each step, whichever it is; None without a wait."""
    slowest = _slowest(joined)
    leads = [_lead(joined.waits, place) for place in range(len(joined.ranks))]
    waits = [leads[place][step] for step, place in enumerate(slowest)]
    total = sum(waits)
    if total <= 0:
        return None

    def blamed(*phases: str) -> float:
        late = phases[0] in _AFTER
        column = joined.column(*phases)
        excess = [_excess(column, place) for place in range(len(joined.ranks))]
        return fmean(excess[place][max(0, step - 1) if late else step] for step, place in enumerate(slowest))

    by_rank: dict[int, float] = {}
    for place, wait in zip(slowest, waits, strict=True):
        rank = joined.ranks[place].rank
        by_rank[rank] = by_rank.get(rank, 0.0) + wait / total
    mean = total / len(waits)
    excess = {phase: blamed(phase) for phase in joined.phases if phase != SYNC}
    return Unevenness(mean, _cause(excess, blamed(*COMPUTING), mean), by_rank)


def heaviest(joined: Joined) -> tuple[int, float, float] | None:
    """Return the rank that trains most samples, and the medians of its samples and of the others'.

    None where samples are unknown, or the ranks have about as many.
    """
    samples = joined.samples()
    if samples is None:
        return None
    largest = [max(range(len(sizes)), key=sizes.__getitem__) for sizes in zip(*samples, strict=True)]
    place, count = Counter(largest).most_common(1)[0]
    own = median(samples[place])
    others = median(size for other, sizes in enumerate(samples) if other != place for size in sizes)
    if count < CONSISTENT * len(largest) or own < UNEQUAL_SAMPLES * others:
        return None
    return joined.ranks[place].rank, own, others


def rows(context: Context) -> list[RankMeans]:
    """Return the means of each rank's steady steps, for the reports."""
    joined = join(context)
    if joined is None:
        return []
    found = []
    for position, (rank, places) in enumerate(zip(joined.ranks, joined.places, strict=True)):
        sizes = [rank.samples[place] for place in places]
        known = [size for size in sizes if size is not None]
        parallel = rank.data_parallel
        found.append(
            RankMeans(
                rank=rank.rank,
                step=fmean(rank.walls[place] for place in places),
                phases={
                    phase: fmean(column[place] for place in places) for phase, column in sorted(rank.phases.items())
                },
                sync_exposed=parallel.exposed if context.on_cuda and parallel else fmean(joined.waits[position]),
                sync_overlapped=parallel.overlapped if parallel else None,
                samples=fmean(known) if known and len(known) == len(sizes) else None,
            )
        )
    return found


def _slowest(joined: Joined) -> list[int]:
    """Position of the rank that waits least, in each step."""
    return [min(range(len(waits)), key=waits.__getitem__) for waits in zip(*joined.waits, strict=True)]


def _lead(waits: Sequence[Sequence[float]], place: int) -> list[float]:
    """How much longer the others wait than the rank at this place, in each step (their mean)."""
    return [-excess for excess in _excess(waits, place)]


def _excess(column: Sequence[Sequence[float]], place: int) -> list[float]:
    others = len(column) - 1
    return [values[place] - (sum(values) - values[place]) / others for values in zip(*column, strict=True)]


def _cause(excess: dict[str, float], computing: float, wait: float) -> Cause | None:
    phase = max(excess, key=excess.__getitem__, default=None)
    if phase is not None and excess[phase] >= EXPLAINS * wait:
        return Cause(phase, excess[phase])
    return Cause("computing", computing) if computing >= EXPLAINS * wait else None
