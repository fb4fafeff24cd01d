"""Trying changes: blocks of the best set so far, and of the same with the changes, until it is clear or time is up.

    reference  |==|    |==||==|    |==|     look: clear? else more pairs, up to 24
    candidate      |==|        |==|         kept where it is faster, and where it must be and can be, bit-identical

This decides only what the search keeps. "Faster" is claimed from fresh processes; see ``proof``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hotlap.changes.memory import LEAST_MEMORY
from hotlap.records import Change, Effect, Goal, Judgement, Trial
from hotlap.tune.arms import AnyArm, ArmFailed, ArmLate, ArmShort, LiveArm, measure_blocks, warm_by
from hotlap.tune.bench import Bench, on_top
from hotlap.tune.climb import NOT_APPLIED
from hotlap.tune.disturbances import BlockPair, stalled
from hotlap.tune.goals import SPEED_FLOOR
from hotlap.tune.guard import identical, strictest
from hotlap.tune.proof import peak
from hotlap.tune.statistics import SEARCH_ALPHA, SEARCH_HOPELESS, SEARCH_LOOKS, Pair, effect, sequential

#: A process may by luck be so much faster than another of the same training.
LUCK = 1.5


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a change has to show to be kept."""

    #: Gains below this share do not count: as measured between processes, and inside one.
    least_gain: float
    least_live_gain: float
    #: The losses that the training gives each time, None where it does not repeat itself.
    losses: list[float | None] | None
    goal: Goal = "throughput"


def screen(
    bench: Bench,
    reference: Sequence[Change],
    changes: Sequence[Change],
    wanted: Wanted,
    time_left: Callable[[], float],
    latest: float,
) -> Trial:
    """Measure the reference with these changes against the reference alone.

    ``time_left``: the seconds that may still be taken, of which the first look takes what it needs.

    Raises:
        ArmLate: the changes (which may compile) did not come to speed by ``latest``, a moment of the monotonic clock.
        ArmFailed: the reference failed. Where the candidate does, the trial says so.
    """
    before, after = bench.arm(reference), bench.arm(on_top(reference, changes))
    live = before.host is after.host
    least = wanted.least_live_gain if live else wanted.least_gain

    def trial(judgement: Judgement, why: str, measured: Effect | None = None, kept: bool = False) -> Trial:
        return trial_of(reference, changes, judgement, why, measured, kept, (before, after))

    before.warm()
    pairs: list[BlockPair] = []

    def more(count: int) -> list[Pair]:
        new = measure_blocks(before, after, count, len(pairs))
        pairs.extend(new)
        return [Pair(each.ratio, stalled(each)) for each in new]

    # The first look of a search for less memory says as much as later ones: peaks do not scatter.
    looks = SEARCH_LOOKS[:1] if wanted.goal == "memory" else SEARCH_LOOKS
    try:
        warm_by(after, latest)
        measured, judgement = sequential(
            more, looks, SEARCH_ALPHA, least, lambda missing: time_left() > 0, hopeless=SEARCH_HOPELESS
        )
        if wanted.goal != "memory" and not live and judgement == "faster" and measured.ratio < LUCK:
            # What differs from launch to launch is the same in all of these blocks.
            before.host.close()
            after.host.close()
            again = effect([pair.ratio for pair in more(looks[0])], measured.confidence)
            measured = effect([pair.ratio for pair in pairs], measured.confidence)
            if again.ratio - 1 <= least or measured.low <= 1:
                return trial("unclear", "faster in one launch, and not surely in another", measured)
    except ArmLate:
        raise
    except ArmFailed as error:
        if not live and after.training is not None:
            raise  # it was the reference that failed
        could = "measured" if isinstance(error, ArmShort) else "run"
        return trial("unclear", f"it could not be {could}: {error}")
    # Notes are those of the settings of the moment.
    after.block(0.0, 1)
    unapplied = after.so_far().unapplied
    if unapplied:
        return trial("unclear", f"{NOT_APPLIED}: {unapplied[0]}", measured)
    if wanted.goal == "memory":
        smaller, why = _smaller(before, after, measured)
    else:
        smaller = judgement == "faster"
        why = f"faster than the set before it by more than {100 * least:.2g}%"
    curve, numerics = after.curve(), strictest([each.numerics for each in after.changes])
    # What was switched in a running training has not trained so from its first step on; ``claims`` asks it.
    from_the_start = not isinstance(after, LiveArm) and wanted.losses is not None
    same, said = identical(wanted.losses or [], curve) if from_the_start else (None, "")
    idle = f"; it changed nothing that the losses show ({said})" if same and numerics == "trajectory" else ""
    if not smaller:
        return trial(judgement, (why if wanted.goal == "memory" else _dropped(judgement, least)) + idle, measured)
    if any(value is not None and value != value for value in curve):
        return trial(judgement, "its loss became NaN", measured)
    if from_the_start and numerics == "exact":
        if same is False:
            return trial(judgement, f"not the same training: {said}", measured)
        why = said
    return trial(judgement, why + idle, measured, kept=True)


def trial_of(
    reference: Sequence[Change],
    changes: Sequence[Change],
    judgement: Judgement,
    why: str,
    measured: Effect | None = None,
    kept: bool = False,
    arms: tuple[AnyArm, AnyArm] | None = None,
) -> Trial:
    """Return the trial of these changes on top of the reference; ``arms`` are those that were measured."""
    before, arm = arms or (None, None)
    starts = (before.first_step if before else None, arm.first_step if arm else None)
    live = isinstance(arm, LiveArm)
    return Trial(
        change=changes[0],
        beside=list(changes[1:]),
        against=[change.id for change in reference],
        effect=measured,
        judgement=judgement,
        kept=kept,
        why=why,
        first_step=starts[1],
        extra_start=None if starts[0] is None or starts[1] is None else starts[1] - starts[0],
        peak_memory=None if arm is None or live or arm.training is None else peak(arm.so_far().facts),
        live=live,
    )


def _smaller(before: AnyArm, after: AnyArm, speed: Effect) -> tuple[bool, str]:
    """Whether the peak is lower, at a speed that can be borne; the claim asks for the speed of the whole set."""
    peaks = peak(before.so_far().facts), peak(after.so_far().facts)
    if peaks[0] is None or peaks[1] is None:
        return False, "its memory is unknown"
    said = f"peak memory {peaks[0] / 2**30:.2f} GiB -> {peaks[1] / 2**30:.2f} GiB"
    if speed.ratio < SPEED_FLOOR:
        return False, f"{said}, and slower than {SPEED_FLOOR:g}x"
    return peaks[1] < (1 - LEAST_MEMORY) * peaks[0], said


def _dropped(judgement: Judgement, least: float) -> str:
    return {
        "slower": "slower",
        "not faster": f"a gain of {100 * least:.2g}% or more is unlikely",
        "unclear": f"no gain of more than {100 * least:.2g}% could be shown",
    }.get(judgement, judgement)
