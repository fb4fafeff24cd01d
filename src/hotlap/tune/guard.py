"""Is it the same training? Judged by what the baseline itself shows.

    exact       losses bit-identical, step by step, with the same seed
    rounding    with several seeds: candidate less baseline of the same seed, on average, is no more than the standard
                deviation of the baseline between its seeds; the same of the quality at equal samples, where it
                is reported
    trajectory  another training: never the same by itself. Where its quality at equal samples is asked for, it may be
                worse than the baseline by no more than the standard deviation between the baseline's seeds

No fixed per cent anywhere: a noisy training allows more than a quiet one, and neither is asked in advance.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import stdev

from hotlap.records import NumericsClass, SameTraining

Curve = Sequence[float | None]

#: With fewer, the range of the baseline's seeds says too little.
FEWEST_SEEDS = 3
#: Standard deviations of the baseline's seeds by which the losses of the same training surely do not shift: of few
#: seeds it may be estimated far too small.
SURELY = 6.0
#: Steps with fewer samples are left out of the comparison while they are no more than this share of all.
EXCEPTIONS = 0.25
#: How the evidence about a ``trajectory`` change begins.
BY_DESIGN = "another training by design"


def strictest(classes: Sequence[NumericsClass]) -> NumericsClass:
    """The class of several changes together."""
    order: tuple[NumericsClass, ...] = ("trajectory", "rounding")
    return next((numerics for numerics in order if numerics in classes), "exact")


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


def tail(curve: Curve, steps: int, without: Sequence[int] = ()) -> float | None:
    """Mean loss of the last third of the first ``steps`` steps; None where a loss there is unknown or not finite.

    ``without``: steps that are left out, unless nothing would be left.
    """
    first = max(0, min(steps, len(curve)) - max(1, steps // 3))
    every = list(enumerate(curve[:steps]))[first:]
    window = [value for step, value in every if step not in without] or [value for _, value in every]
    if not window or any(value is None or not math.isfinite(value) for value in window):
        return None
    return sum(value for value in window if value is not None) / len(window)


def smaller_steps(*arms: Sequence[int | None]) -> list[int]:
    """Steps in which any of the arms trained fewer samples than it usually does, by the samples of their steps.

    Where an epoch does not come out even, its last step has fewer, and a script that divides its loss by a constant
    number of micro-batches has a smaller loss there, whatever the weights. None, where that is no exception.
    """
    found: set[int] = set()
    for samples in arms:
        usual = Counter(samples).most_common(1)[0][0] if samples else None
        if usual is not None:
            found |= {step for step, count in enumerate(samples) if count is not None and count < usual}
    return sorted(found) if len(found) <= EXCEPTIONS * max(map(len, arms), default=0) else []


def compare_trainings(
    baseline: Sequence[Curve],
    candidate: Sequence[Curve],
    numerics: NumericsClass,
    *,
    deterministic: bool,
    metric: str | None = None,
    baseline_quality: Sequence[float | None] = (),
    candidate_quality: Sequence[float | None] = (),
    after: str = "at equal samples",
    quality: str | None = None,
    alters_loss: bool = False,
    without: Sequence[int] = (),
) -> SameTraining:
    """Judge curves of the same seeds in the same order, at equal samples.

    ``deterministic``: the baseline repeated itself to the last bit, so that ``exact`` can be tested. ``quality``: what
    another training is judged by, where that is asked for: the ``metric``, or the loss. ``after``: when the metric is
    compared. ``alters_loss``: a loss of the candidate is not one of the baseline. ``without``: steps whose losses say
    less of the weights, see ``smaller_steps``; only "exact" asks for them.
    """
    if numerics == "trajectory" and quality is not None:
        same: bool | None = None
        evidence = f"{BY_DESIGN}, and not every launch came to a value of {quality} at equal samples, "
        evidence += "after its first step: a larger --budget trains for longer"
        if metric is not None:
            same, evidence = _no_worse(metric, baseline_quality, candidate_quality, after)
        elif quality.lower() == "loss" and alters_loss:
            evidence = f"{BY_DESIGN}, which alters what the loss measures: name a metric with --quality"
        elif quality.lower() == "loss":
            ends = [[tail(curve, len(curve)) for curve in curves] for curves in (baseline, candidate)]
            same, evidence = _no_worse("loss", ends[0], ends[1], "at equal samples")
        if same and any(
            tail(before, len(before)) is not None and tail(curve, len(curve)) is None
            for before, curve in zip(baseline, candidate, strict=True)
        ):
            same, evidence = False, f"{BY_DESIGN}, and its losses are missing, NaN or infinite at the end"
    elif numerics == "trajectory":
        same, evidence = None, f"{BY_DESIGN}: compare the final quality before adopting it"
    elif numerics == "exact" and deterministic:
        same, evidence = _bit_identical(baseline, candidate)
    else:
        same, evidence = _within_spread(baseline, candidate, without)
        if metric and same is not None:
            alike, more = _same_quality(metric, baseline_quality, candidate_quality, after)
            same, evidence = same and alike, f"{evidence}; {more}"
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


def surely_another(baseline: Sequence[Curve], candidate: Sequence[Curve], without: Sequence[int] = ()) -> bool:
    """Whether curves of these few seeds, in the same order, show already that more of them cannot say "the same"."""
    if len(baseline) < FEWEST_SEEDS:
        return False
    steps = min(len(curve) for curve in (*baseline, *candidate))
    ends, others = ([tail(curve, steps, without) for curve in curves] for curves in (baseline, candidate))
    shifts = [b - a for a, b in zip(ends, others, strict=True) if a is not None and b is not None]
    known = [value for value in ends if value is not None]
    if len(shifts) < len(ends) or not (min(shifts) > 0 or max(shifts) < 0):
        return False
    return abs(sum(shifts)) / len(shifts) > SURELY * stdev(known)


def _bit_identical(baseline: Sequence[Curve], candidate: Sequence[Curve]) -> tuple[bool | None, str]:
    why = "no losses were seen"
    for a, b in zip(baseline, candidate, strict=True):
        same, why = identical(a, b)
        if not same:
            return same, why
    return True, f"{why}, for each of {len(baseline)} seed{'s' if len(baseline) != 1 else ''}"


def _within_spread(
    baseline: Sequence[Curve], candidate: Sequence[Curve], without: Sequence[int]
) -> tuple[bool | None, str]:
    steps = min(len(curve) for curve in (*baseline, *candidate))
    ends = [tail(curve, steps, without) for curve in baseline]
    others = [tail(curve, steps, without) for curve in candidate]
    known = [value for value in ends if value is not None]
    after = [value for value in others if value is not None]
    if len(known) < len(ends):
        return None, "the baseline's own losses are not all known and finite"
    if len(after) < len(others):
        return False, "losses of the candidate are missing, NaN or infinite"
    if len(known) < FEWEST_SEEDS:
        return None, f"{len(known)} seeds say too little about the baseline's own spread; {FEWEST_SEEDS} are needed"
    spread = stdev(known)
    shift = sum(b - a for a, b in zip(known, after, strict=True)) / len(known)
    first = steps - max(1, steps // 3)
    smaller = sum(first <= step < steps for step in without)
    among = f" ({smaller} of fewer samples left out)" if 0 < smaller < steps - first else ""
    return abs(shift) <= spread, (
        f"over {len(known)} seeds the mean loss of steps {first} to {steps - 1}{among} shifts by {shift:+.2g}; "
        f"between its own seeds the baseline's has a standard deviation of {spread:.2g}"
    )


#: Words in the names of metrics, and whether less of it is better. Of others neither is taken for granted.
_LESS = frozenset(
    "loss error err mse mae rmse lpips niqe perplexity ppl nll bpb bpc wer cer fid entropy crossentropy l1 l2".split()  # noqa: SIM905
)
_MORE = frozenset(
    "psnr ssim acc accuracy top1 top5 f1 bleu rouge map iou miou dice auc recall precision score r2".split()  # noqa: SIM905
)


def less_is_better(metric: str) -> bool | None:
    """None where the name does not tell."""
    words = re.findall(r"[a-z]+\d*", re.sub(r"([a-z])([A-Z])", r"\1 \2", metric).lower())
    if any(word in _LESS or word.endswith("loss") for word in words):
        return True
    return False if any(word in _MORE for word in words) else None


def _no_worse(
    metric: str, baseline: Sequence[float | None], candidate: Sequence[float | None], when: str
) -> tuple[bool | None, str]:
    before = [value for value in baseline if value is not None and math.isfinite(value)]
    after = [value for value in candidate if value is not None and math.isfinite(value)]
    if len(before) < len(baseline) or len(before) < FEWEST_SEEDS:
        return None, f"{len(before)} values of {metric} say too little about the baseline; {FEWEST_SEEDS} are needed"
    if len(after) < len(candidate):
        return False, f"{metric} of the candidate is missing, NaN or infinite"
    between = stdev(before)
    if not between:
        return (
            None,
            f"{BY_DESIGN}, and {metric} is {before[0]:.6g} {when} with every seed: that says nothing",
        )
    moved = sum(after) / len(after) - sum(before) / len(before)
    less = less_is_better(metric)
    worse = abs(moved) if less is None else moved if less else -moved
    direction = {True: " (less is better)", False: "", None: " (which way is better is not known)"}[less]
    return worse <= between, (
        f"{BY_DESIGN}; {metric} {when} moves by {moved:+.3g}{direction}, "
        f"the standard deviation between the baseline's seeds is {between:.3g}"
    )


def _same_quality(
    metric: str, baseline: Sequence[float | None], candidate: Sequence[float | None], when: str
) -> tuple[bool, str]:
    known = [value for value in baseline if value is not None]
    after = [value for value in candidate if value is not None]
    if len(known) < len(baseline) or not stdev(known):
        return True, f"{metric} says nothing {when}: the baseline's are not finite, or the same with every seed"
    if len(after) < len(candidate):
        return False, f"{metric} of the candidate is NaN or infinite {when}"
    between, moved = stdev(known), sum(after) / len(after) - sum(known) / len(known)
    return abs(moved) <= between, (
        f"{metric} {when} moves by {moved:+.3f}, the standard deviation between the baseline's seeds is {between:.3f}"
    )
