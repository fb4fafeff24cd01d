"""What a longer start costs: compilation, warming up, filling a cache.

break-even = extra seconds of the start / seconds saved in a step
"""

from __future__ import annotations

import msgspec

from hotlap.records import Trial


def break_even(extra: float, step_seconds: float, ratio: float) -> int | None:
    """Steps after which the extra seconds of the start have been earned back; None where they never are."""
    saved = step_seconds * (1 - 1 / ratio) if ratio > 0 else 0.0
    if extra <= 0:
        return 0
    return round(extra / saved) if saved > 0 else None


def charged(trial: Trial, step_seconds: float, planned: int | None, least: float) -> Trial:
    """The trial, dropped where its longer start takes more than it gives over the planned steps.

    ``step_seconds`` are those of what it was measured against, ``least`` is the gain that counts.
    """
    if not trial.kept or trial.effect is None or trial.extra_start is None or planned is None:
        return trial
    extra, whole = trial.extra_start, planned * step_seconds
    if extra <= 0 or whole / (whole / trial.effect.ratio + extra) >= 1 + least:
        return trial
    steps = break_even(extra, step_seconds, trial.effect.ratio)
    why = f"its start takes {extra:.1f} s more, which is earned back after {steps} steps; {planned} are planned"
    return msgspec.structs.replace(trial, kept=False, why=why)
