"""Which steps are the steady state of a training.

    | warm-up: compilation, caches, autotuning |  steady  |  an outlier  |  steady ...
    0                                        start

Warm-up is at most half of the steps. Outliers are rare slow steps; slow steps that recur are a trait of the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from types import MappingProxyType

from hotlap.diagnose.thresholds import (
    MAD_TO_SIGMA,
    OUTLIER_FLOOR,
    OUTLIER_SIGMAS,
    OUTLIERS_AT_MOST,
    SETTLED_FLOOR,
    SETTLED_STEPS,
)
from hotlap.records import BETWEEN, Step

#: Consecutive steps that are compared to each other where steps change over the run.
_AROUND = 10


def core(step: Step) -> float:
    """Seconds of a step without validation, checkpoint writing and logging."""
    return step.wall - sum(step.phases.get(phase, 0.0) for phase in BETWEEN)


def steady(walls: Sequence[float]) -> tuple[int, list[int]]:
    """Return the index of the first steady step, and the indexes of the outliers from there on.

    ``walls`` are seconds of consecutive steps (``core``). At most half of them are warm-up; with no or one step
    there is none.
    """
    start = _first_steady(walls)
    limit = _slow(walls[start:]) if len(walls) > start else math.inf
    return start, [i for i in range(start, len(walls)) if walls[i] > limit]


def steady_steps(steps: Sequence[Step], compiled: Mapping[int, float] = MappingProxyType({})) -> tuple[int, list[int]]:
    """``steady`` of those steps that the probe did not look at from close by; the indexes are those of ``steps``.

    ``compiled``: seconds of compilation in those steps (``Step.i``) that have any. While that goes on at the beginning
    the training warms up; later on such a step is neither an outlier nor a measure for others.
    """
    seen = [i for i, step in enumerate(steps) if not step.looked]
    half = len(seen) // 2
    walls = [core(steps[i]) - (compiled.get(steps[i].i, 0.0) if at >= half else 0.0) for at, i in enumerate(seen)]
    start, outliers = steady(walls)
    usual = [i for i in seen[start:] if steps[i].i not in compiled]
    if compiled and len(usual) < len(seen) - start and usual:
        walls = [core(steps[i]) for i in usual]
        limit = _slow(walls)
        return seen[start], [i for i, wall in zip(usual, walls, strict=True) if wall > limit]
    return (seen[start] if seen else 0), [seen[i] for i in outliers]


def scatter(values: Sequence[float]) -> float:
    """Median absolute deviation."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def scatter_around(values: Sequence[float]) -> float:
    """Median deviation of each from the median of those around it, as a share of that."""
    found = []
    for at in range(0, len(values), _AROUND):
        near = values[at : at + _AROUND] if at + _AROUND <= len(values) else values[-_AROUND:]
        middle = median(near)
        found += [abs(value - middle) / middle for value in values[at : at + _AROUND] if middle > 0]
    return median(found) if found else 0.0


def _first_steady(walls: Sequence[float]) -> int:
    half = len(walls) // 2
    if not half:
        return 0
    reference = walls[half:]
    slow = _slow(reference)
    settled = _beyond(reference, OUTLIER_SIGMAS, SETTLED_FLOOR)
    for start in range(half):
        window = walls[start : start + SETTLED_STEPS]
        if walls[start] <= settled and max(window) <= slow and median(window) <= settled:
            return start
    return half


def _slow(walls: Sequence[float]) -> float:
    """Seconds beyond which a step is a stall rather than a trait of the training."""
    allowed = max(1, math.ceil(OUTLIERS_AT_MOST * len(walls)))
    while True:
        limit = _beyond(walls, OUTLIER_SIGMAS, OUTLIER_FLOOR)
        slow = [wall for wall in walls if wall > limit]
        if len(slow) <= allowed:
            return limit
        # They recur, so they are ordinary: only what stands out among themselves is not.
        walls = slow


def _beyond(walls: Sequence[float], sigmas: float, floor: float) -> float:
    middle = median(walls)
    return middle + max(sigmas * MAD_TO_SIGMA * scatter(walls), floor * middle)
