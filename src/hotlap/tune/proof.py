"""The claim: is B faster than A, and is it the same training? Shown by pairs of fresh processes, a seed each.

    launch pair 1   A |==|  |==|  |==| ...     B   |==|  |==|  |==|      blocks of the same steps, alternating
    launch pair 2   ... another seed           one ratio and two loss curves from each pair
    ...             after 5 pairs a look: clear? else go on to 7, then to 9

The unit is the pair of launches, not the block and not the step; see ``statistics``. Both arms train the same
number of steps, so that their losses (and the metric that the training reports) are compared at equal samples, where
both take equally many in a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from hotlap.diagnose import diagnose
from hotlap.records import Diagnosis, Effect, Judgement, NumericsClass, Run, SameTraining
from hotlap.tune.arms import Arm, losses, throughput
from hotlap.tune.guard import compare_trainings
from hotlap.tune.statistics import PLANNED_LOOKS, confidence_at_look, effect, judge

#: Parts that the steps of a launch are cut into; the first ones warm up and are left out.
PARTS = 8
WARM_UP_PARTS = 2
#: Steps of a launch: enough for a loss curve, and enough seconds for a block to be measured ...
STEPS = 120
SECONDS = 4.0
#: ... but never fewer than this, however long a step takes.
FEWEST_STEPS = 24


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of fresh processes with the same seed."""

    #: B's throughput over A's.
    ratio: float
    baseline: list[float | None]
    candidate: list[float | None]
    #: Samples in a step, None where they could not be seen.
    baseline_samples: float | None = None
    candidate_samples: float | None = None
    baseline_quality: dict[str, float]
    candidate_quality: dict[str, float]
    #: Each arm by itself.
    baseline_diagnosis: Diagnosis
    diagnosis: Diagnosis


def proof_steps(step_seconds: float, start_seconds: float, seconds: float) -> int:
    """How many steps each launch trains, if the first look's launches of both arms may take ``seconds`` together."""
    wanted = max(STEPS, math.ceil(SECONDS / step_seconds))
    affordable = int((seconds / (2 * PLANNED_LOOKS[0]) - start_seconds) / step_seconds)
    return max(FEWEST_STEPS, min(wanted, affordable))


def launch_pair(a: Arm, b: Arm, steps: int, *, to_the_end: bool) -> Launch:
    """Train both arms for ``steps`` steps in alternating blocks; ``to_the_end``: let them finish afterwards.

    Raises:
        ArmFailed: an arm crashed, or ended before a block could be measured.
    """
    ratios = []
    for part in range(PARTS):
        until = math.ceil(steps * (part + 1) / PARTS)
        order = (a, b) if part % 2 == 0 else (b, a)
        blocks = {id(arm): arm.train_until(until) for arm in order}
        first, second = blocks[id(a)], blocks[id(b)]
        if part >= WARM_UP_PARTS and first and second:
            ratios.append(throughput(second) / throughput(first))
    runs = []
    for arm in (a, b):
        if to_the_end:
            arm.run_to_end()
        runs.append(arm.recorded())
    if not ratios:
        a.fail("ended too early to be measured")
    return Launch(
        ratio=median(ratios),
        baseline=losses(runs[0])[:steps],
        candidate=losses(runs[1])[:steps],
        baseline_samples=_samples(runs[0]),
        candidate_samples=_samples(runs[1]),
        baseline_quality={metric.name: metric.value for metric in runs[0].metrics},
        candidate_quality={metric.name: metric.value for metric in runs[1].metrics},
        baseline_diagnosis=diagnose(runs[0]),
        diagnosis=diagnose(runs[1]),
    )


def prove(
    pair: Callable[[int], Launch],
    alpha: float,
    minimum: float,
    progress: Callable[[str], None],
    time_left: Callable[[], float],
) -> tuple[list[Launch], Effect, Judgement]:
    """Make pairs of launches until the verdict is clear, the planned looks are used up, or the next takes too long.

    The first look is always taken.
    """
    launches: list[Launch] = []
    began = time_left()
    for look in PLANNED_LOOKS:
        each = (began - time_left()) / max(len(launches), 1)
        if launches and (look - len(launches)) * each > time_left():
            progress("unclear, and no time is left for another look: a longer --budget has it")
            break
        while len(launches) < look:
            number = len(launches)
            launches.append(pair(number))
            progress(f"fresh processes, pair {number + 1} (seed +{number}): {launches[-1].ratio:.2f}x")
        measured = effect([launch.ratio for launch in launches], confidence_at_look(alpha, PLANNED_LOOKS, look))
        judgement = judge(measured, minimum)
        if judgement != "unclear":
            break
    return launches, measured, judgement


def same_training(launches: Sequence[Launch], numerics: NumericsClass, *, deterministic: bool) -> SameTraining:
    """Judge the loss curves, and the first metric that both arms of every launch reported."""
    names = [
        name
        for name in launches[0].baseline_quality
        if all(name in launch.baseline_quality and name in launch.candidate_quality for launch in launches)
    ]
    metric = names[0] if names else None
    return compare_trainings(
        [launch.baseline for launch in launches],
        [launch.candidate for launch in launches],
        numerics,
        deterministic=deterministic,
        metric=metric,
        baseline_quality=[launch.baseline_quality[metric] for launch in launches] if metric else (),
        candidate_quality=[launch.candidate_quality[metric] for launch in launches] if metric else (),
    )


def _samples(run: Run) -> float | None:
    known = [step.samples for step in run.steps if step.samples is not None]
    return median(known) if known and len(known) == len(run.steps) else None
