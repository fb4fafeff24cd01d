"""Speed against memory: what was measured, and what nothing beats in both.

Speeds are ratios to the baseline. A trial's is that of the set which it was tried on, times its own effect, so it is as
uncertain as both; the claimed set's was measured against the baseline itself.
"""

from __future__ import annotations

from typing import NamedTuple

from hotlap.records import Tuning


class Point(NamedTuple):
    label: str
    speed: float
    #: Bytes.
    peak: int
    #: Nothing that was measured is both faster and smaller.
    front: bool = False


def points(tuning: Tuning) -> list[Point]:
    """The sets whose speed and peak of memory are both known, the fastest first; none but the baseline: no points."""
    baseline = tuning.facts.peak_memory if tuning.facts.peak_device_memory is None else tuning.facts.peak_device_memory
    if tuning.peaks is not None:
        baseline = tuning.peaks[0]
    speeds = {frozenset[str](): 1.0}
    found = [Point("baseline", 1.0, baseline)] if baseline else []
    for trial in tuning.trials:
        against = frozenset(trial.against)
        if trial.effect is None or against not in speeds:
            continue
        names = {change.name for change in [trial.change, *trial.beside]}
        ids = {change.id for change in [trial.change, *trial.beside]}
        after = frozenset(each for each in against if each.partition("=")[0] not in names) | ids
        speeds[after] = speeds[against] * trial.effect.ratio
        if trial.peak_memory:
            found.append(Point(" + ".join(sorted(after)), speeds[after], trial.peak_memory))
    measured = tuning.speed or tuning.effect
    if tuning.adopted and tuning.peaks is not None and measured is not None:
        # What the search found of the same set is less certain.
        searched = " + ".join(sorted(change.id for change in tuning.adopted))
        found = [each for each in found if each.label != searched]
        found.append(Point("adopted", measured.ratio, tuning.peaks[1]))
    if len(found) < 2:
        return []
    best = [
        each._replace(front=not any(other.speed > each.speed and other.peak < each.peak for other in found))
        for each in found
    ]
    return sorted(best, key=lambda each: -each.speed)
