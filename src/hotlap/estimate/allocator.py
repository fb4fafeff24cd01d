"""What PyTorch's caching allocator for CUDA makes of a timeline: how much is allocated, and how much is reserved.

    asked for          rounded to      from a pool of segments that are got from the driver and kept
    up to 1 MiB        512 bytes       small:  2 MiB each
    below 10 MiB       512 bytes       large:  20 MiB each
    from 10 MiB on     512 bytes       large:  of its own size, rounded to 2 MiB

A request takes the smallest free block of its pool that is large enough, at the lowest address of several. What is left
of it becomes a free block of its own where that is at least 512 bytes (small), or more than 1 MiB (large); else the
request holds it too. A block that is freed joins its free neighbours in the segment.

The rules are those of c10/cuda/CUDACachingAllocator.cpp of PyTorch 2.13 with its default settings, on one stream: no
expandable segments, no limit to splitting, no rounding to powers of two, no garbage collection.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hotlap.estimate.timeline import Timeline

KIB, MIB = 2**10, 2**20
_ROUND = 512
_SMALL = 1 * MIB
_SMALL_SEGMENT = 2 * MIB
_LARGE_SEGMENT = 20 * MIB
#: From here on a segment is made for the one request.
_OWN_SEGMENT = 10 * MIB
_ROUND_SEGMENT = 2 * MIB


class OutOfMemory(Exception):
    """The driver has too little left, even after all unused segments were given back."""

    def __init__(self, size: int, reserved: int) -> None:
        super().__init__(f"no room for {size} bytes beside {reserved} reserved")
        self.size, self.reserved = size, reserved


@dataclass(slots=True, eq=False)
class _Piece:
    """A part of a segment, free or in use; neighbours are linked."""

    address: int
    size: int
    small: bool
    before: _Piece | None = None
    after: _Piece | None = None
    free: bool = False


class CachingAllocator:
    """``capacity``: bytes that the driver can give for segments; None: as many as are asked for."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.allocated = self.reserved = 0
        self.allocated_peak = self.reserved_peak = 0
        self._next_address = 0
        #: Free pieces of each pool (large, small), in the order in which they are looked at: by size, then address.
        self._free: tuple[list[tuple[int, int, _Piece]], ...] = ([], [])

    def allocate(self, size: int) -> _Piece:
        """Raises ``OutOfMemory``."""
        size = max(-(-size // _ROUND) * _ROUND, _ROUND)
        small = size <= _SMALL
        pool = self._free[small]
        at = bisect_left(pool, (size, -1))
        piece = pool.pop(at)[2] if at < len(pool) else self._segment(size, small)
        piece.free = False
        rest = piece.size - size
        if rest >= _ROUND if small else rest > _SMALL:
            left = _Piece(piece.address + size, rest, small, piece, piece.after)
            if piece.after is not None:
                piece.after.before = left
            piece.after, piece.size = left, size
            self._release(left)
        self.allocated += piece.size
        self.allocated_peak = max(self.allocated_peak, self.allocated)
        return piece

    def free(self, piece: _Piece) -> None:
        self.allocated -= piece.size
        before, after = piece.before, piece.after
        if before is not None and before.free:
            self._take(before)
            piece.address, piece.size, piece.before = before.address, before.size + piece.size, before.before
            if piece.before is not None:
                piece.before.after = piece
        if after is not None and after.free:
            self._take(after)
            piece.size, piece.after = piece.size + after.size, after.after
            if piece.after is not None:
                piece.after.before = piece
        self._release(piece)

    def empty_cache(self) -> None:
        """Give segments that are free as a whole back to the driver."""
        for pool in self._free:
            for _, _, piece in [each for each in pool if each[2].before is None and each[2].after is None]:
                self._take(piece)
                self.reserved -= piece.size

    def _segment(self, size: int, small: bool) -> _Piece:
        if small:
            wanted = _SMALL_SEGMENT
        elif size < _OWN_SEGMENT:
            wanted = _LARGE_SEGMENT
        else:
            wanted = -(-size // _ROUND_SEGMENT) * _ROUND_SEGMENT
        if self.capacity is not None and self.reserved + wanted > self.capacity:
            self.empty_cache()
            if self.reserved + wanted > self.capacity:
                raise OutOfMemory(size, self.reserved)
        self.reserved += wanted
        self.reserved_peak = max(self.reserved_peak, self.reserved)
        piece = _Piece(self._next_address, wanted, small)
        self._next_address += wanted
        return piece

    def _release(self, piece: _Piece) -> None:
        piece.free = True
        insort(self._free[piece.small], (piece.size, piece.address, piece))

    def _take(self, piece: _Piece) -> None:
        pool = self._free[piece.small]
        del pool[bisect_left(pool, (piece.size, piece.address))]


class Replayed(NamedTuple):
    allocated: int
    reserved: int
    #: Number of the event at which most was allocated.
    event: int


def replay(timeline: Timeline, capacity: int | None = None, first: Sequence[int] = ()) -> Replayed:
    """Peaks of a timeline, after blocks of the sizes ``first`` that stay (the workspace of libraries).

    Raises ``OutOfMemory`` where ``capacity`` does not hold it.
    """
    allocator = CachingAllocator(capacity)
    for size in first:
        allocator.allocate(size)
    pieces: dict[int, _Piece] = {}
    most, at = allocator.allocated, 0
    for number, event in enumerate(timeline.events):
        if event < 0:
            allocator.free(pieces.pop(~event))
            continue
        pieces[event] = allocator.allocate(timeline.blocks[event].size)
        if allocator.allocated > most:
            most, at = allocator.allocated, number
    return Replayed(allocator.allocated_peak, allocator.reserved_peak, at)
