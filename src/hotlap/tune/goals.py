"""What a tuning is after, as a ratio: above 1, the candidate is better.

throughput        samples per second, all devices together
cost              samples per second and device: what is paid for is devices times hours
memory            peak memory, at a speed of at least ``SPEED_FLOOR`` of the baseline's
time-to-quality   seconds until the loss that the baseline ends with
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hotlap.records import Goal
from hotlap.tune.guard import Curve, tail
from hotlap.tune.proof import Launch

#: Who asks for less memory accepts a slower training, but not any: recomputing everything costs about a third.
SPEED_FLOOR = 0.6
#: What counts for a candidate that is not where the baseline ends: it is not sooner, whatever the speed of its steps.
NEVER = 0.9


def objective(goal: Goal) -> Callable[[Launch], float]:
    """What is proven of a pair of launches."""
    return {
        "throughput": lambda launch: launch.ratio * launch.candidate_devices / launch.baseline_devices,
        "cost": lambda launch: launch.ratio,
        "memory": smaller_peak,
        "time-to-quality": sooner,
    }[goal]


def smaller_peak(launch: Launch) -> float:
    """The baseline's peak over the candidate's; not a number where one of them is unknown."""
    if not launch.baseline_peak or not launch.candidate_peak:
        return math.nan
    return launch.baseline_peak / launch.candidate_peak


def sooner(launch: Launch) -> float:
    """How much sooner the candidate's loss is where the baseline's ends.

    The end is the mean of the last third. Both are there when the mean of as many samples is no higher for the first
    time, so that the same curve with the same noise is no sooner. Below 1 where the candidate never is within its
    samples; not a number where losses are unknown.
    """
    steps = len(launch.baseline)
    goal = tail(launch.baseline, steps)
    samples = (launch.candidate_samples or 1.0) / (launch.baseline_samples or 1.0)
    if goal is None or launch.ratio <= 0:
        return math.nan
    window = max(1, steps // 3)
    before = _first_below(launch.baseline, goal, window) or steps
    reached = _first_below(launch.candidate, goal, max(1, round(window / samples)))
    # The candidate's seconds for a sample are the baseline's over the ratio.
    if reached is not None:
        return launch.ratio * before / (reached * samples)
    if tail(launch.candidate, len(launch.candidate)) is None:
        return math.nan
    return min(NEVER, launch.ratio * before / (len(launch.candidate) * samples))


def _first_below(curve: Curve, goal: float, window: int) -> int | None:
    """Steps after which the mean of the latest ``window`` losses is no higher than ``goal``."""
    for end in range(window, len(curve) + 1):
        values = [value for value in curve[end - window : end] if value is not None and math.isfinite(value)]
        if len(values) == window and sum(values) / window <= goal:
            return end
    return None
