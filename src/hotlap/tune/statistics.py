"""How much faster, how sure, and when to say "unclear".

    pairs -> effect (median and interval) -> judge (faster, not faster, slower, unclear)
    no-op pairs -> noise, the least gain that this machine can show
    sequential: more pairs -> effect -> judge, at each planned look until it is clear

A pair is B's throughput divided by A's, measured next to each other. What varies from launch to launch (memory layout,
placement, clocks) is common to all blocks of a launch, so a claim rests on pairs of fresh launches, not on blocks
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013). A change is searched for with blocks and
claimed with launches, so the search's many looks never touch the claim; the claim's own looks share ``ALPHA``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean, median, stdev
from typing import NamedTuple

import numpy as np
from scipy import special

from hotlap.records import Effect, Judgement

#: How often, over all looks of a claim, an interval may miss the truth. A false "faster" is one side of that.
ALPHA = 0.01

#: After how many pairs of launches the claim may be looked at. The late ones are for noisy machines and small effects;
#: what is large is clear at the first, and a budget that is used up ends it at any.
PLANNED_LOOKS = (5, 7, 9, 13, 19, 27)

#: The same of pairs of blocks, for a search; how often its looks at one candidate may err (which costs a claim that
#: fails, and no more); and how sure it is of what it gives up.
SEARCH_LOOKS = (4, 7, 10, 16, 24)
SEARCH_ALPHA = 0.05
SEARCH_HOPELESS = 0.8

#: The upper end of an interval that is not known. Finite, because JSON has no infinity; the lower end is then 0.
UNBOUNDED = 1e9

#: Intervals are made for neighbouring pairs correlated this much, so that they keep their coverage up to about 0.2.
AUTOCORRELATION = 0.25

#: Log ratios are taken to scatter at least this much: equal figures in few pairs are luck, or a coarse clock.
LEAST_SPREAD = 0.001

#: The least gain worth calling one.
MINIMUM_GAIN = 0.02

#: At most this share of the pairs of blocks is set apart for their stalls.
SET_APART = 0.25

#: A no-op arm that moves by more than this, or whose interval is wider than this, makes every verdict doubtful.
NOISY = 0.05
WIDE = 1.25


def effect(pairs: Sequence[float], confidence: float) -> Effect:
    """The median of throughput ratios B/A, with an interval that covers the true ratio in ``confidence`` of cases.

    Which interval depends on n and ``confidence`` alone, never on the data, or the coverage would be lost:

    - Where n permits it: two order statistics, as in the sign test (David and Nagaraja, "Order Statistics", 3rd ed.,
      7.1). It assumes nothing of the distribution; 0.95 needs 7 pairs, 0.99 needs 10.
    - Otherwise: Student's t on the log ratios. The noise of log(B/A) is symmetric whenever both arms are equally noisy,
      and for symmetric heavy tails t errs on the safe side (Benjamini, "Is the t test really conservative when
      the parent distribution is long-tailed?", JASA 78, 1983).

    Both allow for ``AUTOCORRELATION`` between neighbours: a machine that warms up or is shared drifts. The t interval
    is widened by what AR(1) does to the mean and to the standard deviation (Bayley and Hammersley, "The effective
    number of independent observations in an autocorrelated time series", JRSS Suppl. 8, 1946); the order
    statistics count signs that tend to repeat, with probability 1/2 + asin(r)/pi for a normal AR(1) (Sheppard 1899).

    Not covered: with few pairs, launches that fall into two distinct speeds and scatter little inside each.

    Fewer than two pairs, or one that is not a positive number, give the interval 0 to ``UNBOUNDED``: nothing is known.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    usable = [float(pair) for pair in pairs if math.isfinite(pair) and pair > 0]
    n = len(usable)
    centre = median(usable) if usable else 1.0
    low, high = 0.0, UNBOUNDED
    if n >= 2 and n == len(pairs):
        rank = _sign_rank(n, confidence)
        if rank is not None:
            ordered = sorted(usable)
            low, high = ordered[rank], ordered[n - 1 - rank]
        else:
            logs = [math.log(pair) for pair in usable]
            middle = fmean(logs)
            half = _student_factor(n, confidence) * max(stdev(logs), LEAST_SPREAD)
            low, high = math.exp(max(middle - half, -700.0)), math.exp(min(middle + half, math.log(UNBOUNDED)))
    return Effect(ratio=centre, low=min(low, centre), high=max(high, centre), n=n, confidence=confidence, pairs=usable)


def judge(effect: Effect, minimum: float = MINIMUM_GAIN) -> Judgement:
    """Say what an effect proves; ``minimum`` is the least gain worth calling one (0.02 is 2 %).

    "faster" needs the whole interval above 1 and a ratio beyond ``minimum``; "slower" is the same with A and B
    exchanged. "not faster" excludes a gain of ``minimum`` or more. All else is "unclear".
    """
    if effect.low > 1 and effect.ratio - 1 > minimum:
        return "faster"
    if effect.high < 1 and 1 / effect.ratio - 1 > minimum:
        return "slower"
    if effect.high < 1 + minimum:
        return "not faster"
    return "unclear"


def confidence_at_look(alpha: float, looks: Sequence[int], look: int) -> float:
    """The confidence to use at ``look`` (how many pairs), so that all planned looks together err in ``alpha``.

    Each look gets a share that is fixed beforehand (Bonferroni): valid however the looks depend on each other, and
    whether or not one stops early. The shares are as 1 / ``look``: few pairs need a large one to show anything, and
    most comparisons are decided early; many pairs can do with little. A look that was not planned has no share.
    """
    if look not in looks:
        raise ValueError(f"a look at {look} pairs was not planned (planned: {', '.join(map(str, looks))})")
    return 1 - alpha / look / sum(1 / each for each in looks)


class Pair(NamedTuple):
    """A ratio B/A, and whether its blocks hold a stall (``disturbances.stalled``)."""

    ratio: float
    stalled: bool = False


def kept(pairs: Sequence[Pair]) -> list[float]:
    """The ratios to judge by: without those of stalled pairs, where these are no more than ``SET_APART``.

    Where there are more, none is set apart: stalls are then what this training, or this machine, is like.
    """
    usable = [pair.ratio for pair in pairs if not pair.stalled]
    return usable if len(pairs) - len(usable) <= SET_APART * len(pairs) else [pair.ratio for pair in pairs]


def sequential(
    more: Callable[[int], Sequence[Pair]],
    looks: Sequence[int],
    alpha: float,
    minimum: float,
    go_on: Callable[[int], bool] = lambda missing: True,
    hopeless: float | None = None,
    upheld: Callable[[Judgement], Judgement] = lambda judgement: judgement,
) -> tuple[Effect, Judgement]:
    """Measure ``more`` pairs up to each planned look, until the verdict is clear; the first look is always taken.

    ``more`` is told how many pairs are missing to the next look, and ``go_on`` asked whether there is time for them.
    With ``hopeless``, a gain of ``minimum`` that an interval of that confidence excludes is given up, which can lose a
    gain and cannot make one: for a search. ``upheld`` may turn a judgement into "unclear".
    """
    pairs: list[Pair] = []
    for look in looks:
        if pairs and not go_on(look - len(pairs)):
            break
        pairs += more(look - len(pairs))
        measured = effect(kept(pairs), confidence_at_look(alpha, looks, look))
        judgement = upheld(judge(measured, minimum))
        if judgement == "unclear" and hopeless is not None and effect(measured.pairs, hopeless).high < 1 + minimum:
            judgement = "not faster"
        if judgement != "unclear":
            break
    return measured, judgement


def noise(pairs: Sequence[float]) -> float:
    """By how much, as a share, pairs differ that should not: for the no-op arm.

    The robust standard deviation of the log ratios (1.4826 times their median absolute deviation) plus what the median
    is off from 1. With fewer than five pairs, where that is itself too uncertain, the largest deviation.

    Raises:
        ValueError: no pairs, or one that is not a positive number: the noise is unknown, and not 0.
    """
    if not pairs or not all(math.isfinite(pair) and pair > 0 for pair in pairs):
        raise ValueError(f"the noise of {list(pairs)} is unknown: it takes positive ratios, at least one")
    logs = [math.log(pair) for pair in pairs]
    if len(logs) < 5:
        return math.expm1(min(max(map(abs, logs)), math.log(UNBOUNDED)))
    middle = median(logs)
    return 1.4826 * median(abs(log - middle) for log in logs) + abs(median(pairs) - 1)


def least_gain(no_op: Sequence[float], minimum: float) -> float:
    """The least gain that is called one: ``minimum``, or by how much the median of the no-op arm's pairs may be off.

    That is its standard error, 1.2533 times the (robust) standard deviation of a pair by the root of n, and at most
    ``NOISY``. The spread of single pairs would be too much to ask: the median of many shows less than one moves by.
    """
    logs = [math.log(pair) for pair in no_op]
    middle = median(logs)
    spread = 1.4826 * median(abs(log - middle) for log in logs)
    return max(minimum, min(1.2533 * spread / math.sqrt(len(logs)), NOISY))


def too_noisy(no_op: Effect) -> str | None:
    """Return a warning where a command differs too much from itself, or None."""
    moved = noise(no_op.pairs)
    if moved <= NOISY and no_op.high <= WIDE * no_op.low:
        return None
    return (
        f"machine too noisy: the same command against itself gave {min(no_op.pairs):.2f}x to {max(no_op.pairs):.2f}x; "
        "small effects cannot be seen here, so close other programs and measure again with --fresh"
    )


@lru_cache(maxsize=1024)
def _sign_rank(n: int, confidence: float) -> int | None:
    """How many of the ordered pairs to leave out at each end, None where n is too small for ``confidence``."""
    stay = 0.5 + math.asin(AUTOCORRELATION) / math.pi
    above, below = np.zeros(n + 1), np.zeros(n + 1)  # by the number of values above the truth; the last one is above
    above[1] = below[0] = 0.5
    for _ in range(n - 1):
        above, below = (
            np.concatenate(([0.0], (stay * above + (1 - stay) * below)[:-1])),
            stay * below + (1 - stay) * above,
        )
    permitted = np.flatnonzero(2 * np.cumsum(above + below) <= 1 - confidence)
    return int(permitted[-1]) if permitted.size else None


@lru_cache(maxsize=1024)
def _student_factor(n: int, confidence: float) -> float:
    """Half the interval's width, in standard deviations of a log ratio."""
    inflation = 1 + 2 * sum((1 - lag / n) * AUTOCORRELATION**lag for lag in range(1, n))
    widening = math.sqrt(inflation * (n - 1) / (n - inflation))
    return float(special.stdtrit(n - 1, (1 + confidence) / 2)) * widening / math.sqrt(n)
