"""When the claim stops, and how long each launch trains; the launches here are made up."""

from __future__ import annotations

import msgspec
import pytest

from hotlap.records import Budget, Diagnosis
from hotlap.tune.proof import FEWEST_STEPS, STEPS, Launch, proof_steps, prove, same_training

DIAGNOSIS = Diagnosis(
    findings=[],
    will_not_help=[],
    step_seconds=0.1,
    phases={},
    throughput=None,
    budget=Budget(wall=1, startup=0, warmup=0, steps=1, validation=0, checkpoint=0, logging=0, end=0),
    steady_from=0,
    steady_steps=10,
)


def launch(ratio: float, **quality: dict[str, float]) -> Launch:
    made = Launch(
        ratio=ratio,
        baseline=[1.0, 2.0],
        candidate=[1.0, 2.0],
        baseline_quality={},
        candidate_quality={},
        baseline_diagnosis=DIAGNOSIS,
        diagnosis=DIAGNOSIS,
    )
    return msgspec.structs.replace(made, **quality)


@pytest.mark.parametrize(
    ("ratios", "pairs", "judgement"),
    [
        ([2.0, 2.02, 1.98, 2.0, 2.01, 2.0, 2.0, 2.0, 2.0], 5, "faster"),
        ([1.0, 1.001, 0.999, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 5, "not faster"),
        ([0.5, 0.51, 0.49, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 5, "slower"),
        ([1.5, 1.0, 0.8, 1.4, 0.9, 1.1, 1.2, 0.9, 1.3], 9, "unclear"),
    ],
)
def test_it_stops_at_the_first_planned_look_that_is_clear(ratios: list[float], pairs: int, judgement: str) -> None:
    """Never in between, and after the last look it is unclear."""
    made: list[int] = []

    def pair(number: int) -> Launch:
        made.append(number)
        return launch(ratios[number])

    launches, effect, verdict = prove(pair, 0.01, 0.02, lambda message: None, lambda: 1e6)
    assert made == list(range(pairs))
    assert len(launches) == effect.n == pairs
    assert verdict == judgement


def test_no_look_is_begun_that_would_take_longer_than_the_time_left() -> None:
    """But the first one is always taken, however short the time."""
    clock = iter([10.0, 10.0, -20.0, -20.0, -20.0])
    made: list[int] = []

    def pair(number: int) -> Launch:
        made.append(number)
        return launch([1.5, 1.0, 0.8, 1.4, 0.9][number])

    _, effect, verdict = prove(pair, 0.01, 0.02, lambda message: None, lambda: next(clock))
    assert made == [0, 1, 2, 3, 4]
    assert effect.n == 5
    assert verdict == "unclear"


def test_slow_steps_are_fewer_and_fast_ones_more() -> None:
    """Within what the time allows, but never so few that no curve is left."""
    assert proof_steps(0.1, 2.0, 1e6) == STEPS
    assert proof_steps(0.001, 2.0, 1e6) > STEPS
    assert proof_steps(10.0, 2.0, 600.0) == FEWEST_STEPS
    assert proof_steps(0.1, 2.0, 70.0) == 50
    assert proof_steps(1.0, 2.0, -50.0) == FEWEST_STEPS


def test_a_metric_counts_only_where_every_launch_has_it() -> None:
    """From both arms."""
    both = {"psnr": 30.0}
    complete = [launch(1.0, baseline_quality=both, candidate_quality=both)] * 3
    assert same_training(complete, "rounding", deterministic=True).metric == "psnr"
    incomplete = [*complete[:2], launch(1.0, baseline_quality=both)]
    assert same_training(incomplete, "rounding", deterministic=True).metric is None
