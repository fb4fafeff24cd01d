"""When the claim stops, and how long each launch trains; the launches here are made up."""

from __future__ import annotations

import msgspec
import pytest
from diagnosed import DIAGNOSIS

from hotlap.records import Effect, Judgement
from hotlap.tune.disturbances import Block, BlockPair
from hotlap.tune.paces import Pace
from hotlap.tune.proof import (
    FEWEST_STEPS,
    STEPS,
    Launch,
    borne_out,
    over_budget,
    proof_steps,
    prove,
    same_training,
    warnings_of,
)
from hotlap.tune.statistics import PLANNED_LOOKS


def launch(ratio: float, **quality: dict[str, float]) -> Launch:
    made = Launch(
        ratio=ratio,
        baseline=[1.0, 2.0],
        candidate=[1.0, 2.0],
        baseline_quality={},
        candidate_quality={},
        seconds=1.0,
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
        ([1.5, 1.0, 0.8, 1.4, 0.9, 1.1, 1.2, 0.9, 1.3] * 3, 27, "unclear"),
    ],
)
def test_it_stops_at_the_first_planned_look_that_is_clear(ratios: list[float], pairs: int, judgement: str) -> None:
    """Never in between, and after the last look it is unclear."""
    made: list[int] = []

    def pair(number: int) -> Launch:
        made.append(number)
        return launch(ratios[number])

    launches, effect, verdict = prove(
        lambda numbers: [pair(number) for number in numbers], 0.01, 0.02, lambda message: None, lambda: 1e6
    )
    assert made == list(range(pairs))
    assert len(launches) == effect.n == pairs
    assert verdict == judgement


def test_no_look_is_begun_that_would_take_longer_than_the_time_left() -> None:
    """But the first one is always taken, however short the time."""
    made: list[int] = []

    def pair(number: int) -> Launch:
        made.append(number)
        return msgspec.structs.replace(launch([1.5, 1.0, 0.8, 1.4, 0.9, 1.2, 1.1, 0.9, 1.3][number]), seconds=10.0)

    def proven(time_left: float) -> tuple[list[Launch], Effect, Judgement]:
        made.clear()
        return prove(lambda numbers: list(map(pair, numbers)), 0.01, 0.02, lambda message: None, lambda: time_left)

    assert proven(20.0)[1].n == 9
    _, effect, verdict = proven(19.9)
    assert made == [0, 1, 2, 3, 4]
    assert effect.n == 5
    assert verdict == "unclear"


def test_a_claim_that_goes_on_comes_at_least_as_far() -> None:
    """Pairs that have been made before take no time, however little is left."""

    def pair(number: int) -> Launch:
        return msgspec.structs.replace(launch([1.5, 1.0, 0.8, 1.4, 0.9, 1.2, 1.1, 0.9, 1.3][number]), seconds=10.0)

    for known, found in ((9, 9), (8, 7), (5, 5)):
        launches, _, _ = prove(
            lambda numbers: list(map(pair, numbers)),
            0.01,
            0.02,
            lambda message: None,
            lambda: 0.0,
            recorded=lambda number, known=known: number < known,  # type: ignore[misc]
        )
        assert len(launches) == found


def test_pairs_that_are_made_at_once_take_the_time_of_one() -> None:
    """As many as there are devices; what does not fit into one round takes another."""

    def pair(number: int) -> Launch:
        return msgspec.structs.replace(launch([1.5, 1.0, 0.8, 1.4, 0.9, 1.2, 1.1, 0.9, 1.3][number]), seconds=10.0)

    def proven(time_left: float, slots: int) -> int:
        left = iter([time_left])
        launches, _, _ = prove(
            lambda numbers: list(map(pair, numbers)),
            0.01,
            0.02,
            lambda message: None,
            lambda: next(left, 0.0),
            slots=slots,
        )
        return len(launches)

    assert [proven(10.0, slots) for slots in (1, 2, 4)] == [5, 7, 7]
    assert [proven(9.9, slots) for slots in (2, 4)] == [5, 5]


def test_slow_steps_are_fewer_and_fast_ones_more() -> None:
    """Within what the time allows, but never so few that no curve is left."""
    assert proof_steps(Pace(0.1, 2.0), 1e6) == STEPS
    assert proof_steps(Pace(0.001, 2.0), 1e6) > STEPS
    assert proof_steps(Pace(10.0, 2.0), 600.0) == FEWEST_STEPS
    assert proof_steps(Pace(0.1, 2.0), 70.0) == 50
    assert proof_steps(Pace(1.0, 2.0), -50.0) == FEWEST_STEPS


def test_launches_are_shorter_so_that_there_are_more() -> None:
    """Nine pairs, or seven, where half of the usual steps is left; the first look's five otherwise."""
    assert proof_steps(Pace(0.1, 2.0), 18 * 10.0) == 80
    assert proof_steps(Pace(0.1, 2.0), 14 * 9.0) == 70
    assert proof_steps(Pace(0.1, 2.0), 14 * 7.5) == 85  # of five


def test_a_metric_counts_only_where_every_launch_has_it() -> None:
    """From both arms."""
    both = {"psnr": 30.0}
    complete = [launch(1.0, baseline_quality=both, candidate_quality=both)] * 3
    assert same_training(complete, "rounding", deterministic=True).metric == "psnr"
    incomplete = [*complete[:2], launch(1.0, baseline_quality=both)]
    assert same_training(incomplete, "rounding", deterministic=True).metric is None


def stalling(number: int) -> Launch:
    """B's parts are 10 % faster, but for one, in which it stands still for as long as four parts take."""
    parts = []
    for part in range(6):
        held = 5.0 if part == number % 6 else 1.0
        a = Block(throughput=100.0, seconds=1.0, step=0.01, longest=0.012)
        b = Block(throughput=110.0 / held, seconds=held / 1.1, step=0.01, longest=0.012 if held == 1.0 else 3.6)
        parts.append(BlockPair(number=number, a=a, b=b))
    return launch(1.1, parts=parts)


def test_a_gain_that_all_the_time_together_does_not_bear_out_is_unclear() -> None:
    """The median part leaves out what B does to itself now and then; the result says both figures, after all looks."""
    launches, effect, verdict = prove(
        lambda numbers: [stalling(number) for number in numbers], 0.01, 0.02, lambda message: None, lambda: 1e6
    )
    assert effect.low > 1
    assert verdict == "unclear"
    assert len(launches) == PLANNED_LOOKS[-1]
    told = warnings_of(launches, verdict, effect, cores=2)
    assert any("all the time that was measured, stalls included, 0.66x" in each for each in told)
    assert any("27 of 324 blocks hold a stall" in each for each in told)


def test_a_gain_that_all_the_time_bears_out_stands() -> None:
    """And records that do not have it are judged as before."""
    assert borne_out("faster", [1.05, 0.99, 1.1]) == "faster"
    assert borne_out("faster", []) == "faster"
    assert borne_out("slower", [1.2, 1.1]) == "unclear"
    assert borne_out("not faster", [1.2, 1.1]) == "not faster"


def test_a_budget_that_was_not_kept_is_said() -> None:
    """Not a second of it."""
    assert over_budget(155.0, 150.0) == []
    assert over_budget(195.0, 150.0) == ["it took 195 s of a budget of 150 s: what had begun was finished"]
