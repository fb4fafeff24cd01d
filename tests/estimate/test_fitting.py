"""Whether a timeline fits, and the search for the largest micro-batch: on timelines and needs that are made up."""

from __future__ import annotations

import pytest

from hotlap.estimate.allocator import MIB, replay
from hotlap.estimate.eight_bit import in_eight_bits, state_sizes
from hotlap.estimate.fitting import Line, Need, Room, largest_batch, reserved_within, verdict
from hotlap.estimate.timeline import Block, Category, Phase, Timeline, peak, with_first_step
from hotlap.records import Allowance


def block(size: int, category: Category = "temporary", phase: Phase = "forward", step: int = 1) -> Block:
    return Block(size, "", "", phase, step, category)


@pytest.mark.parametrize(("memory", "expected"), [(125, "fits"), (124, "tight"), (106, "tight"), (104, "does not fit")])
def test_the_verdict_minds_both_ends_of_what_else_is_taken(memory: int, expected: str) -> None:
    """100 MiB of tensors and from 5 to 25 beside them: sure, possible, impossible."""
    timeline = Timeline([block(100 * MIB)], [0])
    beside = Allowance(name="context", least=5 * MIB, likely=9 * MIB, most=25 * MIB, source="made up")
    assert verdict(timeline, replay(timeline), Room(memory * MIB, [beside])) == expected


def test_what_is_kept_in_vain_is_given_back_first() -> None:
    """Two large blocks one after the other are reserved together, and fit where there is room for one of them."""
    timeline = Timeline([block(40 * MIB), block(60 * MIB)], [0, ~0, 1])
    assert replay(timeline).reserved == 100 * MIB
    room = Room(64 * MIB, [])
    assert verdict(timeline, replay(timeline), room) == "fits"
    assert reserved_within(timeline, replay(timeline), room, "fits") == 60 * MIB
    assert reserved_within(timeline, replay(timeline), Room(200 * MIB, []), "fits") == 100 * MIB
    assert reserved_within(timeline, replay(timeline), room, "does not fit") is None


def searched(need: dict[int, int] | None, capacity: int, *, first: int = 1, limit: int = 1000) -> tuple[int, list[int]]:
    """Of bytes by the micro-batch; None: 100 and 10 for each sample."""
    looked: list[int] = []

    def at(batch: int) -> Need:
        looked.append(batch)
        size = 100 + 10 * batch if need is None else need[batch]
        return Need(size, size <= capacity)

    return largest_batch(first, at, capacity, limit).batch_size, looked


@pytest.mark.parametrize("first", [1, 3, 8, 64])
@pytest.mark.parametrize("capacity", [110, 119, 120, 355, 5000])
def test_the_largest_is_found_and_was_looked_at(first: int, capacity: int) -> None:
    """On a line it takes two looks and a check, wherever the search begins."""
    largest, looked = searched(None, capacity, first=first)
    assert largest == (capacity - 100) // 10
    assert largest in looked
    assert len(looked) <= 4
    assert len(set(looked)) == len(looked)


def test_a_prediction_that_was_wrong_is_corrected() -> None:
    """From 5 samples on each takes more than the first two told: 6 fit, not 9."""
    need = {batch: 10 * batch + max(batch - 4, 0) * 10 for batch in range(1, 20)}
    largest, looked = searched(need, 90)
    assert largest == 6
    assert looked[:2] == [1, 2]
    assert 9 in looked


@pytest.mark.parametrize("share", [1.001, 1.03, 1.5, 3.0])
def test_memory_in_pieces_is_no_end_of_the_search(share: float) -> None:
    """The tensors of 1000 samples are no more than the memory, but the allocator needs some of it between them."""
    looked: list[int] = []

    def need(batch: int) -> Need:
        looked.append(batch)
        return Need(100 * batch, share * 100 * batch <= 100_000)

    assert largest_batch(8, need, 100_000, 65536).batch_size == int(1000 / share)
    assert len(looked) <= 17
    assert len(set(looked)) == len(looked)


def test_none_fits_only_where_one_sample_was_gone_through() -> None:
    """A line through 2 and 4 samples says that not even one would; one does."""
    assert searched({1: 140, 2: 190, 4: 200, 8: 300}, 150, first=8)[0] == 1
    largest, looked = searched({1: 160, 2: 190, 4: 200, 8: 300}, 150, first=8)
    assert (largest, looked[-1]) == (0, 1)


def test_not_even_one_sample() -> None:
    """Then it is 0, and nothing else is tried."""
    assert searched(None, 50) == (0, [1])
    assert searched(None, 50, first=8)[0] == 0


def test_the_search_ends_at_the_limit_of_the_training() -> None:
    found = largest_batch(8, lambda batch: Need(batch, True), 10**9, 1024)
    assert (found.batch_size, found.is_limit) == (1024, True)


def test_a_line_that_does_not_rise_has_no_largest() -> None:
    assert Line.through((1, 5), (2, 5)).largest(10, 77) == 77
    assert Line.through((1, 5), (2, 5)).largest(4, 77) == 0


def test_a_step_is_doubled_without_its_state() -> None:
    """What the step leaves behind is not there twice; the state stands between the two."""
    blocks = [
        block(8, "parameter", "setup", 0),
        block(16, "optimizer", "optimizer"),
        block(32, "activation", step=2),
        block(4, step=2),
    ]
    one = Timeline(blocks, [0, 1, 2, ~2, 3])
    two = with_first_step(one, state=1, step=2)
    assert two.events == [0, 4, ~4, 1, 2, ~2, 3]
    assert (two.blocks[4].size, two.blocks[4].step) == (32, 1)
    assert peak(two).size == peak(one).size == 8 + 16 + 32


def test_state_in_eight_bits() -> None:
    """A byte for each number of a moment and a scale for 256 of them; what is small stays in float32."""
    assert state_sizes(4095) == [4 * 4095] * 2
    assert state_sizes(4097) == [4097, 4097, 4 * 17, 4 * 17]
    million = sum(state_sizes(10**6))
    assert million / 10**6 == pytest.approx(2.03, abs=0.01)


def test_another_optimizer_gives_way_to_eight_bits() -> None:
    """Its state and all that it made in passing are gone, and the new state is there from its first step on."""
    blocks = [
        block(400, "parameter", "setup", 0),
        block(800, "optimizer", "optimizer"),
        block(400, "temporary", "optimizer"),
        block(100, "activation", step=2),
    ]
    changed = in_eight_bits(Timeline(blocks, [0, 1, 2, ~2, 3]), [100])
    alive = [changed.blocks[event].size for event in changed.events if event >= 0]
    assert alive == [400, 400, 400, 1024, 1024, 100]
