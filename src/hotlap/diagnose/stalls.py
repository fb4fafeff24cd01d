"""The differential test of the data side: what is left of a step when the data are at hand.

    as it is              |--- fetch, decode ---|- collate, hand over -|------ the rest of the loop ------|
    the samples at hand                         |- collate, hand over -|------ the rest of the loop ------|
    the batch at hand                                                  |------ the rest of the loop ------|

What workers hide behind the loop is in none of the differences: they are stalls, and not the work itself.
"""

from __future__ import annotations

from hotlap.records import Ablation, Ablations, DataStalls, Saved


def data_stalls(proven: Ablations | None) -> DataStalls | None:
    """Return what the ablations say of the data side; None where the batch was not replayed."""
    measured = {each.name: each for each in proven.tried} if proven is not None else {}
    batch, samples = measured.get("data"), measured.get("samples")
    stall = None if batch is None else _saved(batch)
    if batch is None or stall is None or batch.step_seconds is None:
        return None
    kept = None if samples is None else _saved(samples)
    return DataStalls(
        step_seconds=batch.step_seconds,
        ceiling_seconds=batch.step_seconds - stall.seconds,
        stall=stall,
        samples=kept,
        handing_over=None if kept is None else _difference(stall, kept),
    )


def _saved(ablation: Ablation) -> Saved | None:
    if ablation.effect is None or ablation.seconds is None:
        return None
    return Saved(seconds=ablation.seconds, low=ablation.low, high=ablation.high, n=ablation.effect.n)


def _difference(whole: Saved, part: Saved) -> Saved:
    """With the ends that lie furthest apart: both intervals hold then."""
    return Saved(
        seconds=whole.seconds - part.seconds,
        low=_minus(whole.low, part.high),
        high=_minus(whole.high, part.low),
        n=min(whole.n, part.n),
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
