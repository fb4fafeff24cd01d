"""What launches take: by the baseline's figures, and for a set of changes by what its trials found."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from hotlap.records import Change, Trial
from hotlap.tune.bench import ids


class Pace(NamedTuple):
    """Of one arm, in seconds."""

    step: float
    #: From the start of the command to the end of its first step.
    first_step: float


class Paces(NamedTuple):
    """Of both arms of a pair."""

    baseline: Pace
    candidate: Pace

    @property
    def mean(self) -> Pace:
        (step, first), (other_step, other_first) = self
        return Pace((step + other_step) / 2, (first + other_first) / 2)


def foreseen(changes: Sequence[Change], trials: Sequence[Trial], baseline: Pace) -> Paces:
    """What a pair takes: what was kept of these changes is as fast as it was found, and starts as late."""
    asked = ids(changes)
    kept = [trial for trial in trials if trial.kept and ids([trial.change, *trial.beside]) <= asked]
    faster = prod(trial.effect.ratio for trial in kept if trial.effect is not None)
    later = sum(max(0.0, trial.extra_start or 0.0) for trial in kept)
    return Paces(baseline, Pace(baseline.step / faster, baseline.first_step + later))
