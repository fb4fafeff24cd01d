"""Whether the inputs of a training grow over its steps, and what goes with that. Pure functions over the record.

inputs            ▁▁▂▂▃▃▄▄▅▅▆▆    longer sequences, larger pictures: a step takes longer and more memory, by design
memory, seconds   ▁▁▂▂▃▃▄▄▅▅▆▆    goes with the inputs
                  ▁▂▃▄▅▆▇█...     goes on growing where they stay the same: something is kept
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, combinations, groupby
from statistics import median
from typing import NamedTuple

from hotlap.diagnose.steady import core
from hotlap.diagnose.thresholds import (
    GROWTH_STEADY,
    INPUT_CHUNKS,
    INPUT_FALLS,
    INPUT_GROWTH,
    INPUT_MEMORY,
    INPUT_PAIRS,
    INPUT_POWER,
    INPUT_SLACK,
)
from hotlap.records import Growth, MemoryAccount, ResidentPoint, Step

#: Phases that take longer for a larger input.
OF_INPUTS = ("data_wait", "host_to_device", "forward", "loss", "backward", "recompute", "other")

#: More points than this tell no more about a plateau, and pairs grow with their square.
_MOST = 100


class Inputs(NamedTuple):
    """Bytes that modules were called with in the first and in the last tenth of the steps."""

    first: float
    last: float

    @property
    def ratio(self) -> float:
        return self.last / self.first

    def explain(self, ratio: float) -> bool:
        """Whether work or memory that became so many times larger may be these inputs' alone."""
        return ratio <= INPUT_SLACK * self.ratio**INPUT_POWER


def growing(points: Sequence[ResidentPoint]) -> Inputs | None:
    """Return how the inputs grow, or None where they do not, or where too little of them was seen."""
    sized = [(point.i, point.inputs) for point in points if point.inputs]
    if len(sized) < INPUT_CHUNKS:
        return None
    start, length = sized[0][0], sized[-1][0] - sized[0][0] + 1
    chunks: list[list[int]] = [[] for _ in range(INPUT_CHUNKS)]
    for i, size in sized:
        chunks[(i - start) * INPUT_CHUNKS // length].append(size)
    # Batches of chance lengths go up and down; those of a schedule go up.
    medians = [float(median(chunk)) for chunk in chunks if chunk]
    pairs = list(combinations(medians, 2))
    falls = sum(b < a for a, b in pairs)
    if len(medians) < INPUT_CHUNKS / 2 or falls > INPUT_FALLS * len(pairs):
        return None
    found = Inputs(medians[0], medians[-1])
    return found if found.ratio >= INPUT_GROWTH else None


def tenths(steps: Sequence[Step], phase: str | None = None) -> tuple[float, float]:
    """Median seconds of the first and of the last tenth of these steps, or of a phase in them."""
    count = max(1, len(steps) // 10)
    first, last = (
        median(core(step) if phase is None else step.phases.get(phase, 0.0) for step in part)
        for part in (steps[:count], steps[-count:])
    )
    return first, last


def size_at(points: Sequence[ResidentPoint], i: int) -> int | None:
    """Bytes of the inputs at the point nearest to this step."""
    sized = [point for point in points if point.inputs]
    return min(sized, key=lambda point: abs(point.i - i)).inputs if sized else None


def grows_with_inputs(
    points: Sequence[ResidentPoint], used: Sequence[int], found: Growth, account: MemoryAccount | None
) -> bool:
    """Whether this growth of memory may be that of the inputs. ``used``: the bytes of each point that grew."""
    rows = [(point.i, size, point.inputs) for point, size in zip(points, used, strict=True) if point.inputs]
    # What was taken for the largest is kept for the next.
    largest = accumulate((inputs for _, _, inputs in rows), max)
    seen = [(i, size, most) for (i, size, _), most in zip(rows, largest, strict=True) if found.start <= i <= found.end]
    if not seen or seen[-1][2] < INPUT_GROWTH * seen[0][2]:
        return False
    thinned = seen[:: 1 + len(seen) // _MOST]
    still: list[float] = []
    for _, same in groupby(thinned, key=lambda point: point[2]):
        plateau = list(same)
        # An allocator takes some steps until it has what a new size needs.
        settled = plateau[len(plateau) // 2 :]
        still += [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(settled, 2) if b[0] > a[0]]
    if len(still) >= INPUT_PAIRS and median(still) >= GROWTH_STEADY * found.slope:
        return False
    at = size_at(points, account.step) if account else None
    if account is None or account.activations is None or not at:
        return True
    taken = account.activations + (account.inputs or 0)
    more = (seen[-1][2] / at) ** INPUT_POWER - (seen[0][2] / at) ** INPUT_POWER
    return found.bytes <= INPUT_MEMORY * taken * more
