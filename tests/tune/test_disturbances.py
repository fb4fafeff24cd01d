"""Disturbances of made-up blocks, each named."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.launch.load import Held
from hotlap.records import Step
from hotlap.tune.disturbances import Block, BlockPair, block_of, disturbances, stalled


def block(throughput: float = 100.0, longest: float = 0.012, held: Held | None = None) -> Block:
    """Half a second of steps of 10 ms."""
    return Block(throughput=throughput, seconds=0.5, step=0.01, longest=longest, held=held or Held())


def pairs(count: int = 8, *, b: float = 1.0, noise: float = 0.01, seed: int = 0) -> list[BlockPair]:
    scatter = np.exp(noise * np.random.default_rng(seed).standard_normal((count, 2)))
    return [BlockPair(number=i, a=block(100 * one), b=block(100 * b * other)) for i, (one, other) in enumerate(scatter)]


@pytest.mark.parametrize("b", [0.5, 1.0, 3.0])
def test_a_quiet_measurement_has_nothing_to_say(b: float) -> None:
    """However much faster one arm is."""
    assert disturbances(pairs(b=b), cores=2) == []
    assert disturbances([], cores=2) == []


@pytest.mark.parametrize(("factor", "words"), [(0.7, "slowed down by 2"), (1.5, "became faster by ")])
def test_a_drift_is_told_by_both_arms_together(factor: float, words: str) -> None:
    """The machine's speed moves steadily from the first pair to the last; B is twice as fast all the time."""
    steady = pairs(b=2.0, noise=0.005)
    moved = [
        msgspec.structs.replace(
            pair,
            a=block(pair.a.throughput * factor ** (pair.number / 7)),
            b=block(pair.b.throughput * factor ** (pair.number / 7)),
        )
        for pair in steady
    ]
    (told,) = disturbances(moved, cores=2)
    assert words in told
    assert "(drift)" in told


def test_drift_is_seldom_seen_where_there_is_none() -> None:
    """Of 300 measurements that scatter by 20 % without an order, at most 2 in 100."""
    seen = [disturbances(pairs(12, noise=0.2, seed=seed), cores=2) for seed in range(300)]
    assert sum(map(bool, seen)) <= 6


def with_stalls(made: list[BlockPair], a: tuple[int, ...] = (), b: tuple[int, ...] = ()) -> list[BlockPair]:
    return [
        msgspec.structs.replace(
            pair,
            a=block(40.0, 0.81) if i in a else pair.a,
            b=block(40.0, 0.81) if i in b else pair.b,
        )
        for i, pair in enumerate(made)
    ]


def test_a_stall_is_named_with_its_pair_arm_and_seconds() -> None:
    """And what became of the pair."""
    disturbed = with_stalls(pairs(), a=(2,))
    assert [stalled(pair) for pair in disturbed].index(True) == 2
    assert disturbances(disturbed, 2, apart=[2]) == ["pair 3 holds a stall of 0.8 s in one step of A: set apart"]
    assert disturbances(disturbed, 2) == ["pair 3 holds a stall of 0.8 s in one step of A"]


def test_a_long_step_that_is_usual_is_no_stall() -> None:
    """Twice the median, or a tenth of the block."""
    assert not stalled(BlockPair(number=0, a=block(longest=0.03), b=block(longest=0.06)))


def test_stalls_of_one_arm_may_be_its_own() -> None:
    """Six in B and none in A is no chance; three in each is."""
    own = disturbances(with_stalls(pairs(12), b=(0, 2, 4, 6, 8, 10)), 2)
    assert any(told.startswith("6 stalls are in blocks of B and 0 in the other's") for told in own)
    both = disturbances(with_stalls(pairs(12), a=(0, 4, 8), b=(2, 6, 10)), 2)
    assert not any("its own" in told for told in both)
    assert any("6 of 24 blocks hold a stall" in told for told in both)


@settings(derandomize=True, max_examples=200)
@given(
    st.lists(
        st.tuples(st.floats(1, 1000), st.floats(0.01, 2.0), st.floats(1, 1000), st.floats(0.01, 2.0), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_what_is_set_apart_does_not_hang_on_which_arm_is_which(
    figures: list[tuple[float, float, float, float, bool]],
) -> None:
    """Exchanging A and B in any of the pairs leaves every pair as stalled as it was: the rule favours no arm."""
    for a, longest_a, b, longest_b, _ in figures:
        one, other = block(a, longest_a), block(b, longest_b)
        assert stalled(BlockPair(number=0, a=one, b=other)) == stalled(BlockPair(number=0, a=other, b=one))
    # Nor on how fast a block was: the ratio is not looked at.
    for a, longest_a, b, longest_b, faster in figures:
        changed = BlockPair(number=0, a=block(a * (10 if faster else 1), longest_a), b=block(b, longest_b))
        assert stalled(changed) == stalled(BlockPair(number=0, a=block(a, longest_a), b=block(b, longest_b)))


def test_another_load_is_told_in_cores() -> None:
    """As a share of those that the training may use."""
    loaded = [
        msgspec.structs.replace(pair, a=block(held=Held(others=0.73, queued=0.3)), b=block(held=Held(others=0.87)))
        for pair in pairs()
    ]
    (told,) = disturbances(loaded, cores=2)
    assert told.startswith("another load held 40% of the 2 cores (0.8; 0.9 in the worst block)")
    assert "waited 0.3 s for a core in each second" in told
    assert disturbances(loaded, cores=32) == []


def test_other_load_that_is_uneven_between_the_arms_is_told() -> None:
    """It could be taken for an effect."""
    uneven = [
        msgspec.structs.replace(pair, a=block(held=Held(others=1.0)), b=block(held=Held(others=0.2)))
        for pair in pairs()
    ]
    assert disturbances(uneven, 2)[1] == "the other load was uneven: 1.0 cores while A ran, 0.2 while B did"


def test_steal_and_pressure_are_told_where_they_are_known() -> None:
    """The hypervisor's other guests; or, where core time is unknown, that something waited."""
    stolen = [msgspec.structs.replace(pair, a=block(held=Held(others=0.5, steal=0.4))) for pair in pairs()]
    assert any("gave 0.4 cores to other guests" in told for told in disturbances(stolen, 2))
    waiting = [msgspec.structs.replace(pair, a=block(held=Held(pressure=0.5))) for pair in pairs()]
    (told,) = disturbances(waiting, 2)
    assert told.startswith("something waited for a core in 50% of the time")


def launches(fast: list[bool], apart: float) -> list[BlockPair]:
    """Six parts of each launch; launches of B are of two speeds."""
    rng = np.random.default_rng(0)
    return [
        BlockPair(
            number=number,
            a=block(100 * math.exp(0.01 * rng.standard_normal())),
            b=block(100 * (apart if quick else 1.0) * math.exp(0.01 * rng.standard_normal())),
        )
        for number, quick in enumerate(fast)
        for _ in range(6)
    ]


def test_two_speeds_of_launches_are_told_apart() -> None:
    """Four launches of seven are 23 % slower, and scatter little."""
    (told,) = disturbances(launches([True, False, False, True, False, True, False], 1.3), 2)
    assert told.startswith("two speeds of launches: 4 of 7 launches of B trained 23% slower")
    assert disturbances(launches([True, False] * 4, 1.03), 2) == []


def test_a_block_keeps_what_it_takes_without_validation_and_checkpoints() -> None:
    """A validation of 3 s is no stall."""
    steps = [Step(i=i, t=0.1 * i, wall=0.1, phases={}) for i in range(9)]
    steps.append(Step(i=9, t=0.9, wall=3.1, phases={"validation": 3.0}))
    kept = block_of(steps, 10.0)
    assert (kept.seconds, kept.step, kept.longest) == pytest.approx((1.0, 0.1, 0.1))
