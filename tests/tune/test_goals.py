"""What a tuning is after, of pairs of launches that are made up."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest
from test_proof import launch

from hotlap.tune.goals import objective, sooner
from hotlap.tune.guard import compare_trainings, less_is_better


def falling(steps: int, rate: float, start: float = 1.0) -> list[float | None]:
    return [start * math.exp(-rate * step) for step in range(steps)]


def test_throughput_counts_all_devices_and_cost_each() -> None:
    """Twice the devices and 1.5 times the speed: faster, and dearer."""
    made = launch(0.75, baseline_devices=1, candidate_devices=2)
    assert objective("throughput")(made) == 1.5
    assert objective("cost")(made) == 0.75


def test_memory_is_the_baseline_s_peak_over_the_candidate_s() -> None:
    """Unknown where one is."""
    assert objective("memory")(launch(1.0, baseline_peak=300, candidate_peak=200)) == 1.5
    assert math.isnan(objective("memory")(launch(1.0, baseline_peak=300)))


def test_the_same_curve_in_faster_steps_is_sooner_by_that() -> None:
    """And in the same steps it is as soon."""
    curve = falling(60, 0.05)
    assert sooner(launch(2.0, baseline=curve, candidate=curve)) == pytest.approx(2.0)
    assert sooner(launch(1.0, baseline=curve, candidate=curve)) == pytest.approx(1.0)


def test_a_curve_that_falls_faster_is_sooner() -> None:
    """In the same seconds a step: it is where the baseline ends after about half the steps."""
    found = sooner(launch(1.0, baseline=falling(60, 0.05), candidate=falling(60, 0.1)))
    assert 1.5 < found < 2.5


def test_a_curve_that_never_gets_there_is_not_sooner() -> None:
    """However fast its steps are, it is not said to have arrived."""
    slow = falling(60, 0.01)
    assert sooner(launch(1.0, baseline=falling(60, 0.05), candidate=slow)) <= 1.0
    assert math.isnan(sooner(launch(1.0, baseline=falling(60, 0.05), candidate=[None] * 60)))


def test_twice_the_samples_in_a_step_count() -> None:
    """Half the steps of twice the samples, at the same samples a second and with the same loss by samples: as soon."""
    fine, coarse = falling(60, 0.05), falling(30, 0.1)
    made = launch(1.0, baseline=fine, candidate=coarse, baseline_samples=8.0, candidate_samples=16.0)
    assert sooner(made) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("metric", "less"),
    [
        ("val_loss", True),
        ("valLoss", True),
        ("trainloss", True),
        ("LPIPS", True),
        ("top1-error", True),
        ("val_bpb", True),
        ("psnr", False),
        ("val/accuracy", False),
        ("f1", False),
        ("quality", None),
        ("glossy", None),
    ],
)
def test_which_way_is_better_is_told_by_a_word_of_the_name(metric: str, less: bool | None) -> None:
    """Or not at all."""
    assert less_is_better(metric) is less


def test_a_metric_of_unknown_direction_may_move_neither_way() -> None:
    """By more than seeds do."""
    curves: list[list[float | None]] = [[1.0, 0.5, 0.4]] * 3
    for after, same in (([1.0, 1.1, 1.2], True), ([2.0, 2.1, 2.2], False), ([0.1, 0.2, 0.3], False)):
        judged = compare_trainings(
            curves,
            curves,
            "trajectory",
            deterministic=True,
            quality="quality",
            metric="quality",
            baseline_quality=[1.0, 1.1, 1.2],
            candidate_quality=after,
        )
        assert judged.same is same


_SEEDS = [28.0, 28.2, 28.4]


@pytest.mark.parametrize(
    ("after", "same"), [([28.1, 28.3, 28.5], True), ([27.0, 27.2, 27.1], False), ([30.0, 30.1, 30.2], True)]
)
def test_another_training_may_not_be_worse_than_seeds_make_it(after: list[float], same: bool) -> None:
    """Better is no objection."""
    curves: list[list[float | None]] = [[1.0, 0.5, 0.4]] * 3
    asked = {"metric": "psnr", "baseline_quality": _SEEDS, "candidate_quality": after}
    judged = compare_trainings(curves, curves, "trajectory", deterministic=True, quality="psnr", **asked)
    assert judged.same is same
    assert "psnr at equal samples moves by" in judged.evidence
    unasked = compare_trainings(curves, curves, "trajectory", deterministic=True, **asked)
    assert unasked.same is None


def test_without_the_metric_nothing_is_decided() -> None:
    """The loss decides where it is asked for, and where it means the same in both."""
    before: list[list[float | None]] = [
        [1.0, 0.8, 0.6, 0.5, 0.4, 0.3],
        [1.0, 0.8, 0.6, 0.5, 0.4, 0.32],
        [1.0, 0.9, 0.31],
    ]
    worse: list[list[float | None]] = [[1.0, 2.0, 3.0]] * 3
    unknown = compare_trainings(before, before, "trajectory", deterministic=True, quality="psnr")
    assert (unknown.same, "not every launch came to a value of psnr" in unknown.evidence) == (None, True)
    by_loss = [
        compare_trainings(before, after, "trajectory", deterministic=True, quality="loss").same
        for after in (before, worse)
    ]
    assert by_loss == [True, False]
    other = compare_trainings(before, before, "trajectory", deterministic=True, quality="loss", alters_loss=True)
    assert (other.same, "--quality" in other.evidence) == (None, True)


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.5])
def test_the_same_training_with_other_noise_is_not_sooner(drop: float) -> None:
    """Of curves that differ by noise alone no more are sooner than later."""
    random = Random(0)
    ratios = []
    for _ in range(400):
        a, b = ([1.0 - drop * step / 60 + random.gauss(0, 0.1) for step in range(60)] for _ in range(2))
        ratios.append(sooner(launch(1.0, baseline=a, candidate=b)))
    assert sum(ratio > 1 for ratio in ratios) < sum(ratio < 1 for ratio in ratios)


def test_launches_keep_what_they_are_judged_by() -> None:
    """A record of an older tuning has none of it."""
    old = msgspec.to_builtins(launch(1.0))
    for name in ("baseline_peak", "candidate_peak", "baseline_devices", "candidate_devices", "parts"):
        old.pop(name)
    again = msgspec.convert(old, type(launch(1.0)))
    assert objective("throughput")(again) == 1.0
