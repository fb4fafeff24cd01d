"""The model of the caching allocator, against sequences that were worked out by hand."""

from __future__ import annotations

import pytest

from hotlap.estimate.allocator import MIB, CachingAllocator, OutOfMemory, replay
from hotlap.estimate.timeline import Block, Timeline


def test_small_requests_share_a_segment() -> None:
    """Up to 1 MiB is rounded to 512 bytes and cut from segments of 2 MiB."""
    allocator = CachingAllocator()
    allocator.allocate(1)
    allocator.allocate(513)
    assert (allocator.allocated, allocator.reserved) == (512 + 1024, 2 * MIB)
    allocator.allocate(MIB)
    assert allocator.reserved == 2 * MIB
    allocator.allocate(MIB)
    assert (allocator.allocated, allocator.reserved) == (512 + 1024 + 2 * MIB, 4 * MIB)


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        # 1 MiB is left of 12, which is too little for a block of its own: the request holds it.
        (11 * MIB, 12 * MIB, 12 * MIB),
        # 512 bytes more are left of it.
        (11 * MIB - 512, 11 * MIB - 512, 12 * MIB),
        (100 * MIB + 1, 100 * MIB + 512, 102 * MIB),
    ],
)
def test_segment_of_a_size(size: int, allocated: int, reserved: int) -> None:
    """What a first request of a size takes, and the segment that is made for it."""
    allocator = CachingAllocator()
    allocator.allocate(size)
    assert (allocator.allocated, allocator.reserved) == (allocated, reserved)


def test_best_fit_at_the_lowest_address() -> None:
    """Of equal free blocks the first is taken, of others the smallest that is large enough."""
    allocator = CachingAllocator()
    # 4 | 6 | 4 | 6 left
    _, second, _ = (allocator.allocate(size * MIB) for size in (4, 6, 4))
    address = second.address
    allocator.free(second)
    again = allocator.allocate(5 * MIB)
    assert again.address == address == 4 * MIB
    # The last MiB of the 6 is not enough for a block.
    assert (again.size, allocator.allocated, allocator.reserved) == (6 * MIB, 14 * MIB, 20 * MIB)
    allocator.free(again)
    tail = allocator.allocate(6 * MIB)
    last = allocator.allocate(6 * MIB)
    assert (tail.address, last.address, allocator.reserved) == (4 * MIB, 14 * MIB, 20 * MIB)


def test_freed_neighbours_become_one() -> None:
    """Two freed blocks side by side hold what neither of them does; with a block in use between them they do not."""
    allocator = CachingAllocator()
    first, second, third, fourth = (allocator.allocate(5 * MIB) for _ in range(4))
    allocator.free(first)
    allocator.free(third)
    allocator.allocate(9 * MIB)
    assert allocator.reserved == 40 * MIB
    allocator.free(second)
    # 15 of the first segment are free, 11 of the second.
    assert allocator.allocate(15 * MIB).address == 0
    assert (allocator.reserved, allocator.allocated) == (40 * MIB, 29 * MIB)
    allocator.free(fourth)
    assert allocator.allocated == 24 * MIB


def test_pools_do_not_lend_to_each_other() -> None:
    """A small request does not use a free large block."""
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(5 * MIB))
    allocator.allocate(1000)
    assert allocator.reserved == 22 * MIB


def test_no_room() -> None:
    """Unused segments are given back before it is said that there is no room; used ones cannot be."""
    allocator = CachingAllocator(capacity=60 * MIB)
    kept = allocator.allocate(30 * MIB)
    allocator.free(allocator.allocate(30 * MIB - 2 * MIB))
    allocator.allocate(30 * MIB)
    assert (allocator.reserved, allocator.reserved_peak) == (60 * MIB, 60 * MIB)
    with pytest.raises(OutOfMemory, match="512 bytes beside 62914560 reserved"):
        allocator.allocate(1)
    allocator.free(kept)
    allocator.allocate(1)
    assert (allocator.reserved, allocator.reserved_peak) == (32 * MIB, 60 * MIB)


def test_replay() -> None:
    """Peaks are those of the whole timeline, beside what libraries keep."""
    blocks = [Block(size * MIB, "", "", "forward", 1) for size in (12, 30, 14)]
    timeline = Timeline(blocks, [0, 1, ~0, ~1, 2])
    # The third takes the first's segment no more: 12 is too small. It takes the second's, and leaves the rest.
    assert replay(timeline)[:2] == (42 * MIB, 42 * MIB)
    assert replay(timeline, first=[8519680])[:2] == (42 * MIB + 8519680, 62 * MIB)
    with pytest.raises(OutOfMemory):
        replay(timeline, capacity=41 * MIB)
