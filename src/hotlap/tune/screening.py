"""Trying one change: blocks of the best set so far, and of the same with the change, until it is clear or time is up.

    reference  |==|    |==||==|    |==|     look: clear? else go on to 7 pairs, then to 10
    candidate      |==|        |==|         kept where it is faster, and where it must be and can be, bit-identical

This decides only what the search keeps. "Faster" is claimed from fresh processes; see ``proof``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hotlap.records import Change, Effect, Judgement, Trial
from hotlap.tune.arms import Arm, ArmFailed, losses, measure_pairs
from hotlap.tune.guard import identical, strictest
from hotlap.tune.statistics import confidence_at_look, effect, judge

#: Pairs of blocks after which a change is judged while searching.
SCREEN_LOOKS = (4, 7, 10)
SCREEN_ALPHA = 0.05


def screen(
    reference: Arm,
    candidate: Arm,
    change: Change,
    *,
    least_gain: float,
    repeated: Sequence[float | None] | None,
    time_left: Callable[[], float],
    progress: Callable[[str], None],
) -> Trial:
    """Measure the candidate, which is the reference with the change, against the reference.

    ``repeated`` are the losses that the training gives each time, None where it does not repeat itself; ``time_left``
    the seconds that may still be taken, of which the first look takes what it needs.

    Raises:
        ArmFailed: the reference failed. Where the candidate does, the trial says so.
    """

    def trial(judgement: Judgement, why: str, measured: Effect | None = None, kept: bool = False) -> Trial:
        return trial_of(reference, candidate, change, judgement, why, measured, kept)

    progress(f"trying {change.title}")
    reference.warm()
    pairs: list[float] = []
    measured: Effect | None = None
    judgement: Judgement = "unclear"
    for look in SCREEN_LOOKS:
        if pairs and time_left() <= 0:
            break
        try:
            pairs += measure_pairs(reference, candidate, look - len(pairs), len(pairs))
        except ArmFailed as error:
            if candidate.training is not None:
                raise  # it was the reference that failed
            return trial("unclear", f"it could not be run: {error}")
        measured = effect(pairs, confidence_at_look(SCREEN_ALPHA, SCREEN_LOOKS, look))
        judgement = judge(measured, least_gain)
        if judgement != "unclear":
            break
    run = candidate.so_far()
    if run.notes:
        return trial("unclear", f"it could not be applied: {run.notes[0]}", measured)
    if judgement != "faster":
        return trial(judgement, _dropped(judgement, least_gain), measured)
    curve = losses(run)
    if any(value is not None and value != value for value in curve):
        return trial(judgement, "its loss became NaN", measured)
    if strictest([each.numerics for each in candidate.changes]) == "exact" and repeated is not None:
        same, why = identical(repeated, curve)
        if same is False:
            return trial(judgement, f"not the same training: {why}", measured)
    return trial(judgement, f"faster than the set before it by more than {100 * least_gain:.2g}%", measured, kept=True)


def trial_of(
    reference: Arm,
    candidate: Arm,
    change: Change,
    judgement: Judgement,
    why: str,
    measured: Effect | None = None,
    kept: bool = False,
) -> Trial:
    """Return the trial of two arms as they are now."""
    return Trial(
        change=change,
        against=reference.ids,
        effect=measured,
        judgement=judgement,
        kept=kept,
        why=why,
        first_step=candidate.first_step,
        peak_memory=_peak(candidate),
    )


def _peak(arm: Arm) -> int | None:
    """Bytes of the GPU where the training has one, of its process otherwise."""
    if arm.training is None:
        return None
    facts = arm.so_far().facts
    return facts.peak_memory if facts.peak_device_memory is None else facts.peak_device_memory


def _dropped(judgement: Judgement, least: float) -> str:
    return {
        "slower": "slower",
        "not faster": f"a gain of {100 * least:.2g}% or more is excluded",
        "unclear": f"no gain of more than {100 * least:.2g}% could be shown",
    }.get(judgement, judgement)
