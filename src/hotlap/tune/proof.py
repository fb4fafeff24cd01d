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
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from statistics import fmean, median

import msgspec

from hotlap.diagnose import diagnose
from hotlap.launch.load import Held, during
from hotlap.records import Diagnosis, Effect, Facts, Judgement, NumericsClass, Run, SameTraining, Step
from hotlap.tune.arms import Arm, ArmFailed, CandidateFailed, losses, pair_of
from hotlap.tune.disturbances import BlockPair, disturbances
from hotlap.tune.guard import compare_trainings, smaller_steps
from hotlap.tune.paces import Pace
from hotlap.tune.statistics import PLANNED_LOOKS, Pair, effect, judge, sequential

#: Parts that the steps of a launch are cut into; the first ones warm up and are left out.
PARTS = 8
WARM_UP_PARTS = 2
#: Steps of a launch: enough for a loss curve, and enough seconds for a block to be measured ...
STEPS = 120
SECONDS = 4.0
#: ... but never fewer than this, however long a step takes.
FEWEST_STEPS = 24
#: Steps after a validation, so that it is over.
BEYOND_VALUE = 2
#: Where a step of the candidate has the samples of many: no fewer parts, of no fewer of its steps each, of which the
#: first one of each is left out; and launches of no more than so many times the planned steps.
FEWEST_PARTS = 3
STEPS_OF_A_PART = 2
LONGER = 4
#: Looks that time is planned for; with more of it there are more.
LOOKS_PLANNED_FOR = 3
#: From so much of the budget on it is said that it was not kept.
OVER_BUDGET = 1.1


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of fresh processes with the same seed."""

    #: B's throughput over A's.
    ratio: float
    baseline: list[float | None]
    candidate: list[float | None]
    #: Steps of the curves that had fewer samples than usual in either arm.
    smaller: list[int] = []
    #: Samples in a step, None where they could not be seen.
    baseline_samples: float | None = None
    candidate_samples: float | None = None
    #: By the name of a metric, its last value that both arms have at equal samples; None where it is not finite.
    baseline_quality: dict[str, float | None]
    candidate_quality: dict[str, float | None]
    #: How much both had been trained by then: "4,096 samples", or steps where samples are unknown.
    quality_after: dict[str, str] = {}
    #: Bytes of a GPU where one computes, of the training process otherwise.
    baseline_peak: int | None = None
    candidate_peak: int | None = None
    #: Processes that train together; ``ratio`` and samples are those of one of them.
    baseline_devices: int = 1
    candidate_devices: int = 1
    #: Seconds from the start of the command to the end of the first step.
    baseline_first_step: float | None = None
    candidate_first_step: float | None = None
    #: What of the candidate's changes did nothing in it, in sentences.
    unapplied: list[str] = []
    #: Each arm by itself.
    baseline_diagnosis: Diagnosis
    diagnosis: Diagnosis
    #: The parts that were measured, with what the machine did meanwhile.
    parts: list[BlockPair] = []
    #: Seconds that all of it took, from the first start on.
    seconds: float

    @property
    def whole(self) -> float | None:
        """B over A by all the time that was measured, stalls included; None where it was not kept."""
        a, b = sum(part.a.seconds for part in self.parts), sum(part.b.seconds for part in self.parts)
        work_a = sum(part.a.throughput * part.a.seconds for part in self.parts)
        work_b = sum(part.b.throughput * part.b.seconds for part in self.parts)
        return (work_b / b) / (work_a / a) if a and b and work_a else None


def first_look_seconds(pace: Pace, steps: int = FEWEST_STEPS) -> float:
    """What the fewest launches of so many steps take, where this is the pace of both arms on average."""
    return 2 * PLANNED_LOOKS[0] * (pace.first_step + steps * pace.step)


def steps_to(first_value: int | None) -> int:
    """Steps of a launch at the least, to come to a metric's first value; None where that is not known."""
    return FEWEST_STEPS if first_value is None else max(FEWEST_STEPS, first_value + BEYOND_VALUE)


def proof_steps(pace: Pace, seconds: float) -> int:
    """How many steps each launch trains, if the launches of both arms may take ``seconds`` together.

    A later look is worth more than long launches, whose steps all share the luck of their process: it is planned for
    where half of the usual steps are left, else the first look alone.
    """
    wanted = max(STEPS, math.ceil(SECONDS / pace.step))

    def affordable(pairs: int) -> int:
        return int((seconds / (2 * pairs) - pace.first_step) / pace.step)

    for pairs in reversed(PLANNED_LOOKS[1:LOOKS_PLANNED_FOR]):
        if affordable(pairs) >= wanted / 2:
            return min(wanted, affordable(pairs))
    return max(FEWEST_STEPS, min(wanted, affordable(PLANNED_LOOKS[0])))


def launch_pair(a: Arm, b: Arm, steps: int, *, to_the_end: bool) -> Launch:
    """Train both arms in alternating blocks, A for ``steps`` steps and B for as many samples.

    ``to_the_end``: let them finish afterwards. Where B takes so many more samples in a step that too few of its steps
    would be left, both train for longer, as far as that is bearable.

    Raises:
        CandidateFailed: B crashed, or ended before a block could be measured.
        ArmFailed: A did.
    """
    try:
        return _launch_pair(a, b, steps, to_the_end=to_the_end)
    except ArmFailed as error:
        if a.failed:
            raise
        raise CandidateFailed(str(error)) from error


def _launch_pair(a: Arm, b: Arm, steps: int, *, to_the_end: bool) -> Launch:
    began = time.monotonic()
    parts = []
    # Samples of a step are known once the first has been made.
    of_a, of_b = (_samples(arm.so_far()) for arm in (a, b))
    each = {id(a): 1.0, id(b): of_a / of_b if of_a and of_b else 1.0}
    fewest = min(each.values())
    if steps * fewest < FEWEST_PARTS * STEPS_OF_A_PART:
        longer = math.ceil(FEWEST_PARTS * STEPS_OF_A_PART / fewest)
        if longer > LONGER * steps:
            raise CandidateFailed(
                f"a step of it has the samples of {1 / fewest:.0f} steps, so {steps} of them are too few to compare; "
                "a larger --budget has more"
            )
        steps = longer
    count = max(FEWEST_PARTS, min(PARTS, int(steps * fewest / STEPS_OF_A_PART)))
    warm_up = WARM_UP_PARTS if count >= 2 * WARM_UP_PARTS else 1
    for part in range(count):
        until = steps * (part + 1) / count
        blocks: dict[int, tuple[list[Step], Held]] = {}
        for arm in (a, b) if part % 2 == 0 else (b, a):
            run = partial(arm.train_until, math.ceil(until * each[id(arm)]))
            done, held = during(arm.start().pid, arm.environment.cores, run)
            if done:
                blocks[id(arm)] = done, held
        if part >= warm_up and len(blocks) == 2:
            parts.append(pair_of(a.seed_offset, blocks[id(a)], blocks[id(b)]))
    runs = []
    for arm in (a, b):
        if to_the_end:
            arm.run_to_end()
        runs.append(arm.recorded())
    if not parts:
        (b if len(runs[0].steps) >= steps else a).fail("ended too early to be measured")
    reported = _at_equal_samples(runs[0], runs[1], each[id(b)])
    return Launch(
        ratio=median(part.ratio for part in parts),
        baseline=losses(runs[0])[:steps],
        candidate=losses(runs[1])[: math.ceil(steps * each[id(b)])],
        smaller=smaller_steps(*([step.samples for step in run.steps[:steps]] for run in runs)),
        baseline_samples=_samples(runs[0]),
        candidate_samples=_samples(runs[1]),
        baseline_quality={name: values[0] for name, (values, _) in reported.items()},
        candidate_quality={name: values[1] for name, (values, _) in reported.items()},
        quality_after={name: after for name, (_, after) in reported.items()},
        baseline_peak=peak(runs[0].facts),
        candidate_peak=peak(runs[1].facts),
        baseline_devices=runs[0].facts.world_size,
        candidate_devices=runs[1].facts.world_size,
        baseline_first_step=a.first_step,
        candidate_first_step=b.first_step,
        unapplied=runs[1].unapplied,
        baseline_diagnosis=diagnose(runs[0]),
        diagnosis=diagnose(runs[1]),
        parts=parts,
        seconds=time.monotonic() - began,
    )


def peak(facts: Facts) -> int | None:
    """Bytes of the GPU where the training has one, of its process otherwise."""
    return facts.peak_memory if facts.peak_device_memory is None else facts.peak_device_memory


def _at_equal_samples(a: Run, b: Run, each: float) -> dict[str, tuple[tuple[float | None, float | None], str]]:
    """Of each metric that both reported after their first step: the last values that both have at equal samples.

    ``each``: steps of B for one of A, where samples are unknown. Equal is what differs by less than a step of either.
    """
    counted = _samples(a) is not None and _samples(b) is not None
    found = {}
    for name in dict.fromkeys(metric.name for metric in a.metrics):
        ours, theirs = (_points(run, name, counted, of_a) for run, of_a in ((a, 1.0), (b, 1 / each)))
        near = max(_samples(a) or 1.0, _samples(b) or 1 / each) if counted else max(1.0, 1 / each)
        common = [(mine, at, other) for at, mine in ours for there, other in theirs if abs(at - there) < near]
        if common:
            mine, at, other = common[-1]
            values = tuple(value if math.isfinite(value) else None for value in (mine, other))
            found[name] = (values[0], values[1]), f"{at:,.0f} {'samples' if counted else 'steps'}"
    return found


def _points(run: Run, name: str, counted: bool, of_a: float) -> list[tuple[float, float]]:
    """Samples, or steps of A, that had been trained, and the value then."""
    done = [0.0, *accumulate(float(step.samples or 0) for step in run.steps)]
    return [
        (done[min(metric.step, len(run.steps))] if counted else metric.step * of_a, metric.value)
        for metric in run.metrics
        if metric.name == name and metric.step > 0
    ]


class _GivenUp(Exception):
    """More pairs would change nothing."""


def prove(
    pairs: Callable[[Sequence[int]], list[Launch]],
    alpha: float,
    minimum: float,
    progress: Callable[[str], None],
    time_left: Callable[[], float],
    objective: Callable[[Launch], float] = lambda launch: launch.ratio,
    slots: int = 1,
    given_up: Callable[[Sequence[Launch]], bool] = lambda launches: False,
    recorded: Callable[[int], bool] = lambda number: False,
) -> tuple[list[Launch], Effect, Judgement]:
    """Make pairs of launches until the verdict is clear, the planned looks are used up, or the next takes too long.

    The first look is always taken. ``objective``: what is proven of a pair, above 1 where the candidate is better.
    ``slots``: how many pairs can be made at once. ``given_up`` is asked after each pair whether more are of any use,
    ``recorded`` whether a pair has been made before and takes no time: a claim that goes on comes at least as far.
    """
    launches: list[Launch] = []

    def more(count: int) -> list[Pair]:
        wanted = len(launches) + count
        while len(launches) < wanted:
            numbers = range(len(launches), min(wanted, len(launches) + slots))
            for number, launch in zip(numbers, pairs(numbers), strict=True):
                launches.append(launch)
                progress(f"fresh processes, pair {number + 1} (seed +{number}): {objective(launch):.2f}x")
            if given_up(launches):
                raise _GivenUp
        return [Pair(objective(launch)) for launch in launches[-count:]]

    def go_on(missing: int) -> bool:
        new = sum(not recorded(number) for number in range(len(launches), len(launches) + missing))
        if not new or math.ceil(new / slots) * fmean(launch.seconds for launch in launches) <= time_left():
            return True
        progress("unclear, and no time is left for another look now")
        return False

    def upheld(judgement: Judgement) -> Judgement:
        return borne_out(judgement, _wholes(launches, objective))

    try:
        measured, judgement = sequential(more, PLANNED_LOOKS, alpha, minimum, go_on, upheld=upheld)
    except _GivenUp:
        measured = effect([objective(launch) for launch in launches], 1 - alpha)
        judgement = upheld(judge(measured, minimum))
    return launches, measured, judgement


def _wholes(launches: Sequence[Launch], objective: Callable[[Launch], float]) -> list[float]:
    """What is proven of each pair, by the throughput of all the time that was measured."""
    return [
        objective(msgspec.structs.replace(launch, ratio=launch.whole))
        for launch in launches
        if launch.whole is not None
    ]


def borne_out(judgement: Judgement, wholes: Sequence[float]) -> Judgement:
    """The judgement, or "unclear" where all the time that was measured, stalls included, says the opposite.

    The median part of a launch leaves out what happens now and then. That is right for what the machine does to
    either arm, and wrong for what one of them does to itself.
    """
    if wholes and ((judgement == "faster" and median(wholes) <= 1) or (judgement == "slower" and median(wholes) >= 1)):
        return "unclear"
    return judgement


def over_budget(spent: float, budget: float) -> list[str]:
    """That it took longer than was asked for, where it did; both in seconds."""
    if spent <= OVER_BUDGET * budget:
        return []
    return [f"it took {spent:.0f} s of a budget of {budget:.0f} s: what had begun was finished"]


def warnings_of(
    launches: Sequence[Launch],
    judgement: Judgement,
    effect: Effect,
    cores: int,
    objective: Callable[[Launch], float] = lambda launch: launch.ratio,
) -> list[str]:
    """What disturbed the launches, and why the verdict is "unclear" where the interval alone would not say so."""
    told = disturbances([part for launch in launches for part in launch.parts], cores)
    wholes = _wholes(launches, objective)
    if judgement == "unclear" and judge(effect) != borne_out(judge(effect), wholes):
        told.append(
            f"the median part says {effect.ratio:.2f}x and all the time that was measured, stalls included, "
            f"{median(wholes):.2f}x: unclear which of them a long training would see"
        )
    return told


def without(launches: Sequence[Launch]) -> list[int]:
    """Steps whose losses are not compared."""
    return sorted({step for launch in launches for step in launch.smaller})


def same_training(
    launches: Sequence[Launch],
    numerics: NumericsClass,
    *,
    deterministic: bool,
    quality: str | None = None,
    alters_loss: bool = False,
) -> SameTraining:
    """Judge the loss curves, and a metric that both arms of every launch reported: the first, or the one named."""
    names = [
        name
        for name in launches[0].baseline_quality
        if all(name in launch.baseline_quality and name in launch.candidate_quality for launch in launches)
    ]
    asked = [name for name in names if quality is None or name.lower() == quality.lower()]
    metric = asked[0] if asked else None
    return compare_trainings(
        [launch.baseline for launch in launches],
        [launch.candidate for launch in launches],
        numerics,
        deterministic=deterministic,
        quality=quality,
        alters_loss=alters_loss,
        without=without(launches),
        metric=metric,
        after=_after(launches, metric),
        baseline_quality=[launch.baseline_quality[metric] for launch in launches] if metric else (),
        candidate_quality=[launch.candidate_quality[metric] for launch in launches] if metric else (),
    )


def _after(launches: Sequence[Launch], metric: str | None) -> str:
    """At which point of the training the metric is compared; seeds may differ in that."""
    first, *others = {launch.quality_after.get(metric or "") for launch in launches}
    return f"after {first}" if first and not others else "at equal samples"


def _samples(run: Run) -> float | None:
    known = [step.samples for step in run.steps if step.samples is not None]
    return median(known) if known and len(known) == len(run.steps) else None
