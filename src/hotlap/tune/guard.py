"""Is it the same training? Judged by what the baseline itself shows.

    exact       losses bit-identical, step by step, with the same seed
    rounding    with several seeds: candidate less baseline of the same seed, on average, is no more than the baseline
                itself differs between seeds; the final quality, where the training reports one, is not worse by more
    trajectory  another training: never the same by itself

No fixed per cent anywhere: a noisy training allows more than a quiet one, and neither is asked in advance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hotlap.records import NumericsClass, SameTraining

Curve = Sequence[float | None]


def strictest(classes: Sequence[NumericsClass]) -> NumericsClass:
    """The class of several changes together."""
    for numerics in ("trajectory", "rounding"):
        if numerics in classes:
            return numerics  # type: ignore[return-value]
    return "exact"


def identical(a: Curve, b: Curve) -> tuple[bool | None, str]:
    """Whether two loss curves are equal to the last bit over their common steps; None where losses are unknown."""
    common = min(len(a), len(b))
    known = [index for index in range(common) if a[index] is not None and b[index] is not None]
    if not known:
        return None, "no losses were seen"
    for index in known:
        if a[index] != b[index]:
            return False, f"losses differ from step {index} on ({a[index]!r} and {b[index]!r})"
    return True, f"{len(known)} losses bit-identical"


def tail(curve: Curve, steps: int) -> float | None:
    """Mean loss of the last third of the first ``steps`` steps; None where a loss there is unknown or not finite."""
    window = curve[:steps][-max(1, steps // 3) :]
    if not window or any(value is None or not math.isfinite(value) for value in window):
        return None
    return sum(value for value in window if value is not None) / len(window)


def compare_trainings(
    baseline: Sequence[Curve],
    candidate: Sequence[Curve],
    numerics: NumericsClass,
    *,
    deterministic: bool,
    metric: str | None = None,
    baseline_quality: Sequence[float] = (),
    candidate_quality: Sequence[float] = (),
) -> SameTraining:
    """Judge curves of the same seeds in the same order, at equal samples.

    ``deterministic``: the baseline repeated itself to the last bit, so that ``exact`` can be tested.
    """

    def verdict(same: bool | None, evidence: str) -> SameTraining:
        return SameTraining(
            same=same,
            numerics=numerics,
            evidence=evidence,
            baseline_losses=[list(curve) for curve in baseline],
            candidate_losses=[list(curve) for curve in candidate],
            metric=metric,
            baseline_quality=list(baseline_quality),
            candidate_quality=list(candidate_quality),
        )

    if numerics == "trajectory":
        return verdict(None, "another training by design: compare the final quality before adopting it")
    if numerics == "exact" and deterministic:
        for a, b in zip(baseline, candidate, strict=True):
            same, why = identical(a, b)
            if not same:
                return verdict(same, why)
        return verdict(True, f"{why}, for each of {len(baseline)} seed{'s' if len(baseline) != 1 else ''}")
    steps = min(len(curve) for curve in (*baseline, *candidate))
    ends = [tail(curve, steps) for curve in baseline]
    others = [tail(curve, steps) for curve in candidate]
    if any(value is None for value in ends):
        return verdict(None, "the baseline's own losses are not all known and finite")
    if any(value is None for value in others):
        return verdict(False, "losses of the candidate are missing, NaN or infinite")
    if len(ends) < 3:
        return verdict(None, f"{len(ends)} seeds say too little about the baseline's own spread; 3 are needed")
    return _within_spread(verdict, steps, ends, others, metric, baseline_quality, candidate_quality)


def _within_spread(verdict, steps, ends, others, metric, baseline_quality, candidate_quality):  # type: ignore[no-untyped-def]
    spread = max(ends) - min(ends)
    shift = sum(b - a for a, b in zip(ends, others, strict=True)) / len(ends)
    evidence = (
        f"over {len(ends)} seeds the mean loss of steps {steps - max(1, steps // 3)} to {steps - 1} "
        f"shifts by {shift:+.2g}; "
        f"between its own seeds the baseline differs by {spread:.2g}"
    )
    same = abs(shift) <= spread
    if metric and len(baseline_quality) == len(candidate_quality) >= 3:
        between = max(baseline_quality) - min(baseline_quality)
        moved = sum(candidate_quality) / len(candidate_quality) - sum(baseline_quality) / len(baseline_quality)
        evidence += f"; {metric} at equal samples moves by {moved:+.3f}, the baseline's seeds differ by {between:.3f}"
        same = same and moved >= -between
    return verdict(same, evidence)
