"""Whether two trainings are the same, from their loss curves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.records import NumericsClass, SameTraining
from hotlap.tune.guard import compare_trainings, identical, smaller_steps, strictest, surely_another, tail

SEEDS = [[1.0 + seed / 10] * 9 for seed in range(3)]


def judged(candidate: list[list[float | None]], numerics: NumericsClass = "rounding", **more: object) -> SameTraining:
    return compare_trainings(SEEDS, candidate, numerics, deterministic=True, **more)  # type: ignore[arg-type]


def shifted(by: float) -> list[list[float | None]]:
    return [[value + by for value in curve] for curve in SEEDS]


@pytest.mark.parametrize(
    ("classes", "strictest_class"),
    [([], "exact"), (["exact", "rounding"], "rounding"), (["trajectory", "rounding", "exact"], "trajectory")],
)
def test_a_set_has_the_loosest_class_of_its_changes(classes: list[NumericsClass], strictest_class: str) -> None:
    """One change that trains otherwise makes the whole set another training."""
    assert strictest(classes) == strictest_class


def test_identical_compares_the_steps_that_both_have() -> None:
    """To the last bit, and tells the first step that differs; nothing known is no yes."""
    assert identical([1.0, 2.0], [1.0, 2.0, 3.0])[0] is True
    same, why = identical([1.0, 2.0], [1.0, math.nextafter(2.0, 3.0)])
    assert same is False
    assert "step 1" in why
    assert identical([None], [1.0])[0] is None
    assert identical([], [])[0] is None


def test_exact_changes_must_be_bit_identical_for_every_seed() -> None:
    """One last bit of one seed is enough for no."""
    assert judged(shifted(0.0), "exact").same is True
    other = shifted(0.0)
    other[2][8] = math.nextafter(SEEDS[2][8], 9)
    verdict = judged(other, "exact")
    assert verdict.same is False
    assert "step 8" in verdict.evidence


def test_exact_cannot_be_asked_of_a_training_that_does_not_repeat_itself() -> None:
    """It is then judged by the spread between its seeds."""
    verdict = compare_trainings(SEEDS, shifted(0.01), "exact", deterministic=False)
    assert verdict.same is True
    assert "between its own seeds" in verdict.evidence


@given(st.floats(0.001, 10))
def test_rounding_may_shift_by_what_the_seeds_differ_and_no_more(shift: float) -> None:
    """Whichever way the loss moves."""
    inside = shift <= 0.1  # the standard deviation of 1.0, 1.1 and 1.2
    if abs(shift - 0.1) > 1e-6:
        assert judged(shifted(shift)).same is inside
        assert judged(shifted(-shift)).same is inside


def test_a_metric_that_is_the_same_with_every_seed_says_nothing() -> None:
    """It may have been measured before anything was learnt."""
    same = {"metric": "psnr", "baseline_quality": [18.9] * 3, "candidate_quality": [18.9] * 3}
    other = judged(shifted(0.0), "trajectory", quality="psnr", **same)
    assert other.same is None
    assert other.evidence.endswith("psnr is 18.9 at equal samples with every seed: that says nothing")
    alike = judged(shifted(0.0), **same)
    assert alike.same is True
    assert "psnr says nothing" in alike.evidence


def test_what_diverges_is_not_saved_by_a_metric() -> None:
    quality = {"metric": "psnr", "baseline_quality": [30.0, 30.2, 30.1], "candidate_quality": [30.1, 30.2, 30.0]}
    fine = judged(shifted(0.0), "trajectory", quality="psnr", after="after 64 samples", **quality)
    assert fine.same is True
    assert "psnr after 64 samples moves by" in fine.evidence
    for lost in (None, float("nan")):
        curves = [[*curve[:-1], lost] for curve in shifted(0.0)]
        assert judged(curves, "trajectory", quality="psnr", **quality).same is False
    diverged = {**quality, "candidate_quality": [30.1, None, 30.0]}
    assert judged(shifted(0.0), "trajectory", quality="psnr", **diverged).same is False
    assert judged(shifted(0.0), **diverged).same is False


def test_quality_at_equal_samples_counts_as_well() -> None:
    """A metric that moves by more than the baseline's seeds differ is another training, better or worse."""
    quality = {"metric": "psnr", "baseline_quality": [30.0, 30.2, 30.1]}
    assert judged(shifted(0.0), candidate_quality=[30.1, 30.1, 30.1], **quality).same is True
    worse = judged(shifted(0.0), candidate_quality=[29.0, 29.2, 29.1], **quality)
    assert worse.same is False
    assert "psnr at equal samples moves by -1.000" in worse.evidence
    assert judged(shifted(0.0), candidate_quality=[31.0, 31.2, 31.1], **quality).same is False


def test_what_is_not_known_is_never_the_same() -> None:
    """NaN in the candidate is no; a baseline without losses, or of too few seeds, is unclear."""
    nan = shifted(0.0)
    nan[0][8] = math.nan
    assert judged(nan).same is False
    missing: list[list[float | None]] = [[None] * 9 for _ in SEEDS]
    assert judged(missing).same is False
    assert compare_trainings(missing, SEEDS, "rounding", deterministic=True).same is None
    assert compare_trainings(SEEDS[:2], SEEDS[:2], "rounding", deterministic=True).same is None


def test_another_trajectory_is_never_the_same_by_itself() -> None:
    """Even with equal losses."""
    assert judged(shifted(0.0), "trajectory").same is None


def test_the_tail_is_the_last_third_of_the_common_steps() -> None:
    """One step at least."""
    assert tail([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 99.0], 6) == 5.5
    assert tail([1.0], 1) == 1.0
    assert tail([], 0) is None


def test_steps_of_fewer_samples_than_usual_are_found_in_either_arm() -> None:
    """Unless they are no exception, or samples are not known."""
    even, uneven = [32] * 12, [32, 32, 32, 32, 32, 24] * 2
    assert smaller_steps(uneven, even) == smaller_steps(even, uneven) == [5, 11]
    assert smaller_steps(even, even) == []
    assert smaller_steps([64] * 11 + [32], even) == [11]
    assert smaller_steps([8, 4] * 6, [8, 4] * 6) == []
    assert smaller_steps([None] * 12, [None] * 12) == smaller_steps([], []) == []


def test_losses_of_smaller_steps_are_left_out() -> None:
    """A sum over fewer micro-batches is no shift of the losses; a shift of the others is."""
    fewer = [[*curve[:7], curve[7] * 0.5, curve[8]] for curve in SEEDS]
    assert judged(fewer).same is False
    verdict = judged(fewer, without=[2, 7])
    assert verdict.same is True
    assert "(1 of fewer samples left out)" in verdict.evidence
    assert judged(shifted(0.2), without=[2, 7]).same is False
    far = [[*curve[:7], -9.0, curve[8]] for curve in SEEDS]
    assert surely_another(SEEDS, far)
    assert not surely_another(SEEDS, far, [7])
    assert tail([1.0, 2.0, 3.0, 9.0], 4, without=[3]) == 9.0, "nothing would be left"


def test_exact_asks_every_step() -> None:
    """The same losses are the same in smaller steps, too."""
    other = shifted(0.0)
    other[1][7] += 1
    assert judged(other, "exact", without=[7]).same is False
