"""What the compilations and the starts of loaders took of each step. Keys are ``Step.i``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from hotlap.diagnose.steady import core
from hotlap.records import LoaderStart, Run, Step


def compiled(run: Run) -> dict[int, float]:
    """Seconds of compilation in each step that has any, at most those of its core."""
    return _within_steps(run, evaluating=False)


def compiled_in_validation(run: Run) -> dict[int, float]:
    """... of those inside what the step records as validation."""
    return _within_steps(run, evaluating=True)


def _within_steps(run: Run, evaluating: bool) -> dict[int, float]:
    steps = {step.i: step for step in run.steps}
    found: defaultdict[int, float] = defaultdict(float)
    for each in run.compilations:
        if each.step in steps:
            # A model that trains in eval mode is no validation: the step has none then.
            validates = each.evaluating and steps[each.step].phases.get("validation", 0.0) > 0
            if validates == evaluating:
                found[each.step] += each.seconds
    if evaluating:
        return {i: min(seconds, steps[i].phases["validation"]) for i, seconds in found.items()}
    return {i: min(seconds, core(steps[i])) for i, seconds in found.items()}


def training_starts(run: Run) -> list[LoaderStart]:
    return [each for each in run.loader_starts if not each.validation]


def usual_wait(steps: Sequence[Step], starts: Mapping[int, object]) -> float:
    """Median wait for data of the steps in which no loader started; 0 without such steps."""
    waits = [step.phases.get("data_wait", 0.0) for step in steps if step.i not in starts]
    return median(waits) if waits else 0.0


def started(run: Run, wait: float) -> dict[int, float]:
    """Seconds that starts of the training's loaders took of each step beyond the usual ``wait`` for a batch."""
    steps = {step.i: step for step in run.steps}
    found: defaultdict[int, float] = defaultdict(float)
    for each in training_starts(run):
        if each.step in steps:
            found[each.step] += each.seconds + (each.first_batch or 0.0)
    return {i: max(0.0, min(seconds, steps[i].phases.get("data_wait", 0.0)) - wait) for i, seconds in found.items()}
