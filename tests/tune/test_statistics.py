"""Statistics of pairs: what the intervals cover, and what a tuning claims."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from hotlap.records import Effect
from hotlap.tune.statistics import (
    ALPHA,
    MINIMUM_GAIN,
    PLANNED_LOOKS,
    SEARCH_ALPHA,
    SEARCH_HOPELESS,
    SEARCH_LOOKS,
    SET_APART,
    UNBOUNDED,
    Pair,
    confidence_at_look,
    effect,
    judge,
    kept,
    least_gain,
    noise,
    sequential,
)

Array = NDArray[np.float64]


def an_effect(ratio: float, low: float, high: float) -> Effect:
    return Effect(ratio=ratio, low=low, high=high, n=5, confidence=0.99, pairs=[])


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return rng.standard_normal(shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return rng.standard_t(3, shape)


def autocorrelated(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    values = rng.standard_normal(shape)
    for i in range(1, shape[1]):
        values[:, i] = 0.2 * values[:, i - 1] + math.sqrt(1 - 0.2**2) * values[:, i]
    return values


@pytest.mark.parametrize("draw", [normal, heavy_tailed, autocorrelated])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("n", [3, 5, 7, 9, 10])
def test_interval_covers_the_truth_at_least_as_often_as_it_says(draw, confidence, n):
    """For normal, heavy-tailed and slightly autocorrelated noise, from three pairs on."""
    truth = 1.1
    repeats = 2000
    pairs = truth * np.exp(0.02 * draw(np.random.default_rng(n), (repeats, n)))
    effects = [effect(row, confidence) for row in pairs.tolist()]
    missed = sum(not each.low <= truth <= each.high for each in effects)
    allowed = (1 - confidence) * repeats
    assert missed <= allowed + 2 * math.sqrt(allowed)


def test_interval_ignores_the_shape_of_the_noise_once_there_are_enough_pairs():
    """The order statistics do not move when the largest pair becomes larger still."""
    pairs = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09]
    plain, stalled = effect(pairs, 0.95), effect([*pairs[:-1], 50.0], 0.95)
    assert (plain.ratio, plain.low, plain.high) == (stalled.ratio, stalled.low, stalled.high)
    assert (plain.low, plain.high) == (1.01, 1.08)


@pytest.mark.parametrize("pairs", [[], [1.5], [1.5, math.nan], [1.5, 1.5, math.inf], [1.5, 1.5, 1.5, 0.0]])
def test_too_little_or_unusable_data_is_unclear(pairs):
    """Nothing is known, nothing is claimed, and the record still is JSON."""
    unknown = effect(pairs, 0.95)
    assert (unknown.low, unknown.high) == (0.0, UNBOUNDED)
    assert judge(unknown) == "unclear"
    assert msgspec.json.decode(msgspec.json.encode(unknown), type=Effect) == unknown


def test_pairs_far_apart_stay_finite():
    """Two pairs that disagree wildly give a wide interval, not an overflow."""
    wide = effect([1e-6, 1e6], 0.999)
    assert 0 <= wide.low < wide.ratio < wide.high <= UNBOUNDED * 1.001
    assert judge(wide) == "unclear"


def test_equal_pairs_still_have_an_interval():
    """Three equal figures are luck or a coarse clock, not certainty."""
    assert effect([1.03, 1.03, 1.03], 0.99).low < 1.03 < effect([1.03, 1.03, 1.03], 0.99).high


def test_exchanging_a_and_b_mirrors_the_effect():
    """Neither arm is favoured, whichever interval is used."""
    for n in (3, 5, 9, 15):
        pairs = [1.02 + 0.01 * i for i in range(n)]
        there, back = effect(pairs, 0.95), effect([1 / pair for pair in pairs], 0.95)
        assert (1 / back.high, 1 / back.ratio, 1 / back.low) == pytest.approx((there.low, there.ratio, there.high))


def test_confidence_lies_between_0_and_1():
    """95 is not a confidence."""
    with pytest.raises(ValueError, match="between 0 and 1, not 95"):
        effect([1.0, 1.0], 95)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "judgement"),
    [
        (1.10, 1.05, 1.15, "faster"),
        (1.10, 1.00, 1.20, "unclear"),
        (1.015, 1.005, 1.025, "unclear"),
        (1.015, 1.005, 1.018, "not faster"),
        (1.00, 0.99, 1.01, "not faster"),
        (1.00, 0.90, 1.10, "unclear"),
        (1 / 1.10, 1 / 1.15, 1 / 1.05, "slower"),
        (1 / 1.015, 1 / 1.02, 1 / 1.01, "not faster"),
        (0.90, 0.80, 1.01, "not faster"),
        (math.nan, math.nan, math.nan, "unclear"),
    ],
)
def test_judge(ratio, low, high, judgement):
    """Faster and slower need an interval clear of 1 and more than the least gain; the rest is not faster or unclear."""
    assert judge(an_effect(ratio, low, high)) == judgement


def test_looks_share_the_error():
    """All planned looks together may err in alpha, and nobody takes one more."""
    confidences = [confidence_at_look(ALPHA, PLANNED_LOOKS, look) for look in PLANNED_LOOKS]
    assert sum(1 - each for each in confidences) == pytest.approx(ALPHA)
    with pytest.raises(ValueError, match=r"4 pairs was not planned \(planned: 5, 7, 9, 13, 19, 27\)"):
        confidence_at_look(ALPHA, PLANNED_LOOKS, 4)


def test_noise_is_what_identical_commands_differ_by():
    """A few pairs: the largest difference. Many: a robust one, which a single stall does not move."""
    assert noise([1.0, 1.0, 1.0]) == 0
    assert noise([1.01, 0.99, 1.04]) == pytest.approx(0.04)
    assert noise([0.5, 1.0]) == pytest.approx(1.0)
    many = np.exp(0.02 * np.random.default_rng(0).standard_normal(201)).tolist()
    assert noise(many) == pytest.approx(0.02, rel=0.15)
    assert noise([*many, 5.0]) == pytest.approx(noise(many), rel=0.05)
    assert noise([1.1 * pair for pair in many]) == pytest.approx(0.12, rel=0.15)


@pytest.mark.parametrize("pairs", [[], [1.0, math.nan], [1.0, 0.0]])
def test_noise_of_nothing_is_unknown(pairs):
    """Not 0: that would let every gain pass."""
    with pytest.raises(ValueError, match="is unknown"):
        noise(pairs)


def launches(rng: np.random.Generator, tunings: int, block: float, launch: float, stalls: float) -> Array:
    """Seconds of launches (tunings, pairs) of five blocks each, which share what is particular to their launch."""
    shape = (tunings, PLANNED_LOOKS[-1])
    blocks = np.exp(block * rng.standard_normal((*shape, 5)))
    blocks[rng.random(blocks.shape) < stalls] *= 1.3
    seconds: Array = blocks.sum(axis=2) * np.exp(launch * rng.standard_normal(shape))
    return seconds


def claim(pairs: list[float]) -> str:
    """What a tuning says that looks as planned and stops at the first clear answer."""
    coming = iter(pairs)
    _, judgement = sequential(
        lambda count: [Pair(next(coming)) for _ in range(count)], PLANNED_LOOKS, ALPHA, MINIMUM_GAIN
    )
    return judgement


@pytest.mark.parametrize("stalls", [0.0, 0.03, 0.2])
def test_identical_commands_are_called_faster_in_at_most_1_of_100_tunings(stalls):
    """With 2 % noise per block, 1 % per launch, and blocks that now and then take 30 % longer."""
    rng = np.random.default_rng(0)
    pairs = launches(rng, 2000, 0.02, 0.01, stalls) / launches(rng, 2000, 0.02, 0.01, stalls)
    claims = [claim(row) for row in pairs.tolist()]
    assert claims.count("faster") <= 20
    assert claims.count("slower") <= 20


def test_launches_that_fall_into_two_speeds_deceive_at_most_1_of_100_tunings():
    """Every launch is fast or 30 % slower by chance, and scatters little: five pairs seldom all lie the same way."""
    rng = np.random.default_rng(0)
    shape = (2000, PLANNED_LOOKS[-1])
    seconds = [np.where(rng.random(shape) < 0.5, 1.3, 1.0) * np.exp(0.01 * rng.standard_normal(shape)) for _ in "AB"]
    claims = [claim(row) for row in (seconds[0] / seconds[1]).tolist()]
    assert claims.count("faster") <= 20
    assert claims.count("slower") <= 20


def test_a_gain_of_10_percent_is_found_on_a_quiet_machine():
    """With 0.5 % noise per block and per launch, in at least nine of ten tunings."""
    rng = np.random.default_rng(0)
    pairs = 1.1 * launches(rng, 1000, 0.005, 0.005, 0.0) / launches(rng, 1000, 0.005, 0.005, 0.0)
    claims = [claim(row) for row in pairs.tolist()]
    assert claims.count("faster") >= 900
    assert claims.count("slower") == 0


def test_a_gain_of_5_percent_is_found_on_a_noisy_machine_that_is_given_time():
    """Where pairs of launches scatter by 3 %: in at least nine of ten tunings, with up to 27 pairs."""
    rng = np.random.default_rng(0)
    pairs = 1.05 * np.exp(0.03 * rng.standard_normal((500, PLANNED_LOOKS[-1])))
    claims = [claim(row) for row in pairs.tolist()]
    assert claims.count("faster") >= 450
    assert claims.count("slower") == 0


def test_it_stops_at_the_first_look_that_is_clear_and_takes_no_other_without_time():
    """The first one is taken in any case."""
    taken: list[int] = []

    def more(ratio: float):
        def measure(count: int) -> list[Pair]:
            taken.append(count)
            return [Pair(ratio * (1 + 0.2 * (i % 2))) for i in range(count)]

        return measure

    assert sequential(more(2.0), (4, 7, 10), 0.05, 0.02)[1] == "faster"
    assert taken == [4]
    taken.clear()
    assert sequential(more(0.95), (4, 7, 10), 0.05, 0.02)[1] == "unclear"
    assert taken == [4, 3, 3]
    taken.clear()
    assert sequential(more(0.95), (4, 7, 10), 0.05, 0.02, lambda missing: False)[1] == "unclear"
    assert taken == [4]


def test_stalled_pairs_are_set_apart_up_to_a_share_and_all_are_kept_beyond_it():
    """One of four; two of four are what the training is like."""
    steady = [Pair(1.0 + 0.01 * i) for i in range(3)]
    assert kept([*steady, Pair(0.3, True)]) == [1.0, 1.01, 1.02]
    assert kept([*steady[:2], Pair(0.3, True), Pair(3.0, True)]) == [1.0, 1.01, 0.3, 3.0]
    assert SET_APART == 0.25


def test_a_stalled_pair_hides_no_large_gain_and_makes_none():
    """A search that looks after 4, 7 and 10 pairs: with a stall in either arm of one pair, 1.3x is found; 1x is not."""
    rng = np.random.default_rng(0)
    found = {1.0: 0, 1.3: 0}
    for truth in found:
        for _ in range(300):
            ratios = truth * np.exp(0.02 * rng.standard_normal(10))
            pairs = [Pair(ratio) for ratio in ratios.tolist()]
            pairs[int(rng.integers(4))] = Pair(truth * rng.choice([0.4, 2.5]), True)
            coming = iter(pairs)
            judged = sequential(lambda n, coming=coming: [next(coming) for _ in range(n)], (4, 7, 10), 0.05, 0.02)
            found[truth] += judged[1] == "faster"
    assert found[1.3] >= 290
    assert found[1.0] <= 8


def test_setting_apart_what_stalls_in_either_arm_makes_no_false_alarm():
    """Of 2000 searches of nothing, with blocks stalled by chance in A or B: no more alarms than the looks may make."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(2000):
        stalls = rng.random((10, 2)) < 0.05
        logs = 0.02 * rng.standard_normal(10) + np.where(stalls[:, 0], 0.8, 0) - np.where(stalls[:, 1], 0.8, 0)
        coming = iter([Pair(math.exp(log), bool(stall)) for log, stall in zip(logs, stalls.any(axis=1), strict=True)])
        judged = sequential(lambda n, coming=coming: [next(coming) for _ in range(n)], (4, 7, 10), 0.05, 0.02)
        alarms += judged[1] == "faster"
    assert alarms <= 0.025 * 2000


def test_the_least_gain_follows_the_no_op_arm_up_to_a_bound():
    """Never below what was asked for, and never above 5 %."""
    assert least_gain([1.0, 1.001, 0.999, 1.0, 1.0], 0.02) == 0.02
    assert 0.02 < least_gain([1.0, 1.06, 0.94, 1.04, 0.97], 0.02) < 0.05
    assert least_gain([1.0, 1.5, 0.6, 1.2, 0.8], 0.02) == 0.05


def test_a_search_gives_up_what_is_hopeless_sooner_than_it_is_sure():
    """Of candidates that do nothing where pairs scatter by 4 %, most are given up before the last look."""
    rng = np.random.default_rng(0)
    taken = {None: 0, SEARCH_HOPELESS: 0}
    for hopeless in taken:
        for _ in range(200):
            coming = iter(np.exp(0.04 * rng.standard_normal(SEARCH_LOOKS[-1])).tolist())
            effect, _ = sequential(
                lambda n, coming=coming: [Pair(next(coming)) for _ in range(n)],
                SEARCH_LOOKS,
                SEARCH_ALPHA,
                MINIMUM_GAIN,
                hopeless=hopeless,
            )
            taken[hopeless] += effect.n
    assert taken[SEARCH_HOPELESS] < 0.75 * taken[None]
