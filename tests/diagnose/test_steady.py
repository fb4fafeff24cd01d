from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import run, steps

from hotlap.diagnose import core, diagnose, steady
from hotlap.records import Compilation, Run, Step


def noisy(n: int, seconds: float = 0.1, cv: float = 0.04, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [seconds * max(0.5, chance.gauss(1, cv)) for _ in range(n)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [10, 50, 400])
def test_ordinary_noise_is_neither_warmup_nor_an_outlier(n: int, seed: int) -> None:
    start, outliers = steady(noisy(n, seed=seed))
    assert start <= 1
    assert outliers == []


def test_steps_without_any_noise_do_not_make_a_hiccup_of_ten_per_cent_an_outlier() -> None:
    assert steady([0.1] * 20 + [0.11] + [0.1] * 20) == (0, [])


def test_a_compiling_first_step_is_warmup() -> None:
    assert steady([20.0, *noisy(30)]) == (1, [])


def test_a_second_compilation_belongs_to_the_warmup() -> None:
    assert steady([20.0, 0.1, 0.1, 15.0, *noisy(30)]) == (4, [])


FAST = {"forward": 0.8e-3, "backward": 1.0e-3, "other": 0.5e-3}
VALIDATING = {**FAST, "validation": 0.5}


def compiling(rows: list[dict[str, float]], at: Mapping[int, float]) -> Run:
    """These rows, with compilations of so many seconds in the forward of these steps."""
    rows = [{**row, "forward": row["forward"] + at.get(i, 0.0)} for i, row in enumerate(rows)]
    times = [Compilation(t=0, seconds=seconds, step=i, reason="a shape" if i else None) for i, seconds in at.items()]
    return run(steps(rows), happened={"compilations": times})


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("rows", "at", "start"),
    [
        ([FAST] * 100, {0: 21.7}, 1),
        ([FAST] * 100, {0: 21.7, 2: 15.0, 5: 15.0}, 6),
        ([FAST] * 20, {0: 21.7, 2: 15.0, 5: 15.0}, 6),
        ([FAST] * 100, {0: 21.7, 2: 15.0, 5: 15.0, 70: 15.0, 75: 15.0, 80: 15.0}, 6),
        ([FAST] * 6, {0: 21.7, 2: 15.0}, 3),
        ([VALIDATING if i % 10 == 9 else FAST for i in range(100)], {0: 21.7}, 1),
        ([VALIDATING if i % 2 else FAST for i in range(100)], {0: 21.7, 3: 15.0, 60: 15.0}, 4),
    ],
)
def test_the_steady_step_is_that_without_compilation_and_validation(
    rows: list[dict[str, float]], at: dict[int, float], start: int, known: bool
) -> None:
    """... whether torch told of the compilations or they only show in the time of the steps."""
    planted = compiling(rows, at)
    if not known:
        planted = msgspec.structs.replace(planted, compilations=[])
    found = diagnose(planted)
    assert found.steady_from == start
    assert found.step_seconds == pytest.approx(2.3e-3)
    assert found.phases["forward"] == pytest.approx(0.8e-3)
    assert found.budget.compiling == pytest.approx(sum(at.values()) if known else 0.0)


def test_recompilations_that_recur_are_not_the_usual_step() -> None:
    """Every fifth step compiles: too often for outliers, and known for what it is."""
    found = diagnose(compiling([FAST] * 60, dict.fromkeys(range(0, 60, 5), 1.0)))
    assert found.phases["forward"] == pytest.approx(0.8e-3)
    assert found.findings[0].seconds == pytest.approx(1.0 * 11 / 59, rel=0.1)


def test_where_every_step_compiles_there_is_a_step_all_the_same() -> None:
    found = diagnose(compiling([FAST] * 8, dict.fromkeys(range(8), 1.0)))
    assert found.step_seconds == pytest.approx(1.0023)


def test_caches_that_fill_gradually_are_warmup() -> None:
    start, outliers = steady([0.5, 0.4, 0.3, 0.2, 0.15, *noisy(40)])
    assert (start, outliers) == (5, [])


def test_stalls_are_outliers_by_their_index() -> None:
    walls = [9.0, *noisy(100)]
    walls[40] = 0.5
    walls[80] = 3.0
    assert steady(walls) == (1, [40, 80])


def test_a_stall_in_the_first_half_is_not_the_end_of_a_long_warmup() -> None:
    walls = noisy(40)
    walls[15] = 2.0
    assert steady(walls) == (0, [15])


@pytest.mark.parametrize("workers", [2, 3, 4, 8, 12])
def test_slow_steps_that_recur_are_no_outliers(workers: int) -> None:
    """With n workers that are too slow every n-th step waits: the one symptom must not be thrown away."""
    walls = [0.4 if i % workers == 0 else 0.1 for i in range(96)]
    assert steady(walls)[1] == []


def test_a_stall_among_recurring_slow_steps_is_an_outlier() -> None:
    walls = [0.4 if i % 4 == 0 else 0.1 for i in range(100)]
    walls[70] = 30.0
    assert steady(walls)[1] == [70]


@pytest.mark.parametrize(
    ("walls", "start"),
    [
        ([], 0),
        ([1.0], 0),
        ([1.0, 1.0], 0),
        ([20.0, 0.1], 1),
        ([20.0, 0.1, 0.1], 1),
        ([20.0, 0.1, 0.1, 0.1], 1),
        ([20.0, 15.0, 0.1, 0.1], 2),
        ([20.0, 15.0, 0.1, 0.1, 0.1], 2),
    ],
)
def test_few_steps(walls: list[float], start: int) -> None:
    assert steady(walls) == (start, [])


@given(st.lists(st.floats(0, 1e6), max_size=60))
def test_at_most_half_is_warmup_and_outliers_come_after_it(walls: list[float]) -> None:
    start, outliers = steady(walls)
    assert start <= len(walls) // 2
    assert all(start <= i < len(walls) for i in outliers)
    assert len(outliers) <= max(1, len(walls) // 2)


def test_core_leaves_out_what_happens_between_steps() -> None:
    phases = {"forward": 1.0, "validation": 5.0, "checkpoint": 2.0, "logging": 0.5, "other": 0.5}
    assert core(Step(i=0, t=0, wall=9.0, phases=phases)) == 1.5
