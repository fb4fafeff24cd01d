"""Simulated hit rates against theory, and against trying everything."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hotlap.data.grouping import grouped
from hotlap.data.policies import POLICIES, belady, hit_rate, lru_in_theory

N = 2000


def epochs(number: int, length: int = N) -> list[int]:
    """Each sample once in an epoch, in an order drawn anew."""
    return [key for epoch in range(number) for key in random.Random(epoch).sample(range(length), length)]


@pytest.mark.parametrize("share", [0.1, 0.17, 0.5, 0.9])
def test_one_reading_in_an_epoch(share: float) -> None:
    order, sizes = epochs(5), dict.fromkeys(range(N), 1.0)
    found = {name: hit_rate(policy, share * N, order, sizes, N) for name, policy in POLICIES.items()}
    assert found["never_evict"] == pytest.approx(share)
    assert found["belady"] == pytest.approx(share)
    assert found["frequency"] == pytest.approx(share)
    assert found["lru"] == pytest.approx(lru_in_theory(share), abs=0.01)


def test_clips_that_share_frames() -> None:
    """Random clips of five frames, at 17 %: knowing the order is worth more than twice of what any other rule gets."""
    order = [frame for first in epochs(3) for frame in range(first, first + 5)]
    sizes = dict.fromkeys(range(N + 4), 1.0)
    found = {name: hit_rate(policy, 0.17 * N, order, sizes, len(order) // 3) for name, policy in POLICIES.items()}
    assert found["never_evict"] == pytest.approx(0.17, abs=0.01)
    assert found["lru"] == pytest.approx(0.14, abs=0.02)
    assert found["belady"] == pytest.approx(0.48, abs=0.02)


@pytest.mark.parametrize(("share", "most"), [(0.1, 0.81), (0.17, 0.84)])
def test_two_sequences_at_a_time(share: float, most: float) -> None:
    """As in GoPro: 22 sequences of 100 frames, every clip of five, those of two sequences shuffled among themselves.

    A tenth of the data is room for both, and more than three quarters of the readings hit; what comes first does not.
    """
    clips = [(sequence, first) for sequence in range(22) for first in range(96)]
    generator = torch.Generator().manual_seed(0)
    order = []
    for _ in range(3):
        shuffled = torch.randperm(len(clips), generator=generator).tolist()
        for number in grouped(shuffled, [sequence for sequence, _ in clips], 2, generator):
            sequence, first = clips[number]
            order += [(sequence, first + frame) for frame in range(5)]
    sizes = dict.fromkeys(order, 1.0)
    found = {name: hit_rate(policy, share * 2200, order, sizes, len(order) // 3) for name, policy in POLICIES.items()}
    assert found["never_evict"] == pytest.approx(share, abs=0.02)
    assert 0.75 < found["fifo"] <= found["lru"] <= found["belady"] < most
    assert found["fifo"] == pytest.approx(0.79, abs=0.01)
    assert found["belady"] - found["fifo"] < 0.04


def test_some_are_read_far_more_often() -> None:
    order = random.Random(0).choices(range(N), [1 / (key + 1) for key in range(N)], k=10000)
    sizes = dict.fromkeys(range(N), 1.0)
    rates = {name: hit_rate(policy, 0.1 * N, order, sizes, 5000) for name, policy in POLICIES.items()}
    assert rates["belady"] > rates["frequency"] > rates["lru"]
    assert rates["frequency"] > rates["never_evict"]


def _most_hits(budget: float, order: list[int]) -> int:
    """By trying all that could be kept after each reading, of samples of size 1."""
    reached: dict[frozenset[int], int] = {frozenset(): 0}
    for key in order:
        found: dict[frozenset[int], int] = {}
        for kept, hits in reached.items():
            now = hits + (key in kept)
            for size in range(int(budget) + 1):
                for after in itertools.combinations(sorted(kept | {key}), size):
                    found[frozenset(after)] = max(found.get(frozenset(after), 0), now)
        reached = found
    return max(reached.values())


@given(st.lists(st.integers(0, 4), max_size=9), st.integers(0, 3))
def test_nothing_hits_more_than_belady(order: list[int], budget: int) -> None:
    sizes = dict.fromkeys(range(5), 1.0)
    assert sum(belady(budget, order, sizes)) == _most_hits(budget, order)


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.lists(st.integers(1, 9), min_size=6, max_size=6),
    st.integers(0, 20),
)
def test_no_policy_takes_more_than_its_budget(order: list[int], sizes: list[int], budget: int) -> None:
    """One who keeps a sample that does not fit would hit it."""
    known = dict(enumerate(map(float, sizes)))
    for policy in POLICIES.values():
        hits = policy(budget, order, known)
        assert len(hits) == len(order)
        assert not any(hit for hit, key in zip(hits, order, strict=True) if known[key] > budget)
        assert all(key in order[:place] for place, (hit, key) in enumerate(zip(hits, order, strict=True)) if hit)
