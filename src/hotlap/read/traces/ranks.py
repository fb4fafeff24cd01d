"""The ranks of a training side by side: who makes the others wait.

All ranks leave a collective together, so the one that comes last spends least time in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hotlap.diagnose.thresholds import RANKS_SHARE
from hotlap.records import TracedRank

#: One of equal ranks is the slowest in all steps by chance less often than this.
_CHANCE = 0.05


@dataclass(frozen=True)
class Straggler:
    rank: int
    #: Seconds of a step that the others wait for it (median), and in how many steps it was seen.
    wait: float
    steps: int
    #: What takes it longest beside the median of the others, and by how many seconds.
    cause: str | None
    longer: float


def straggler(ranks: Sequence[TracedRank]) -> Straggler | None:
    """Return the rank that spends least in collectives in every step, where that is no chance."""
    steps = [{step.name: step for step in rank.steps if step.communicating is not None} for rank in ranks]
    if len(ranks) < 2 or not all(rank.device and rank.device.communicating > 0 for rank in ranks):
        return None
    names = [name for name in steps[0] if all(name in each for each in steps)]
    least = {min(range(len(ranks)), key=lambda each: steps[each][name].communicating or 0.0) for name in names}
    if len(least) != 1 or len(ranks) ** (1 - len(names)) > _CHANCE:
        return None
    slow = least.pop()
    others = [each for each in range(len(ranks)) if each != slow]
    wait = median(
        median(steps[each][name].communicating or 0.0 for each in others) - (steps[slow][name].communicating or 0.0)
        for name in names
    )
    if wait < RANKS_SHARE * ranks[slow].step_seconds:
        return None
    cause, longer = _cause(ranks[slow], [ranks[each] for each in others])
    return Straggler(ranks[slow].rank or 0, wait, len(names), cause, longer)


def _cause(slow: TracedRank, others: Sequence[TracedRank]) -> tuple[str | None, float]:
    mine, theirs = _parts(slow), [_parts(each) for each in others]
    longer = {name: spent - median(each.get(name, 0.0) for each in theirs) for name, spent in mine.items()}
    name = max(longer, key=lambda each: longer[each])
    return (name, longer[name]) if longer[name] > 0 else (None, 0.0)


def _parts(rank: TracedRank) -> dict[str, float]:
    """Return the parts of a step that have nothing to do with the other ranks, as a reader calls them."""
    if rank.device is None:
        return {}
    found = {"computing": rank.device.computing, "copies": rank.device.copies}
    return found | {f"idle: {cause.replace('_', ' ')}": spent for cause, spent in rank.device.idle.items()}
