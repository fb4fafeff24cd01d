"""Does a timeline fit into a card's memory, and how large may the micro-batch become.

memory of the card - context, workspace, ... = room, as an interval
timeline ──> allocator with so much room     out of memory even with the most of it: does not fit
                                             with the least of it: tight, else: fits
two micro-batches ──> a line ──> the largest that fits ──> gone through ──> again with the better line, or, where
                                                             memory in pieces was in the way, in halves
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from hotlap.estimate.allocator import OutOfMemory, Replayed, replay
from hotlap.estimate.timeline import Timeline
from hotlap.records import Allowance, LargestBatch, Verdict

#: Micro-batches that are gone through after the first two: so many by lines, and in halves up to so many in all.
_LINES, _CHECKS = 4, 24
#: What lies in pieces takes a share of the memory like this, or twice it, and so on.
_IN_PIECES = 32


class Room(NamedTuple):
    #: Bytes of the device.
    memory: int
    allowances: list[Allowance]

    def left(self, taken: Literal["least", "likely", "most"]) -> int:
        """For tensors, where of the allowances so much is taken."""
        gone: int = sum(getattr(each, taken) for each in self.allowances)
        return self.memory - gone


def verdict(timeline: Timeline, replayed: Replayed, room: Room) -> Verdict:
    """Of a timeline and what it comes to where there is no end of memory."""
    if holds(timeline, replayed, room.left("most")):
        return "fits"
    return "tight" if holds(timeline, replayed, room.left("least")) else "does not fit"


def holds(timeline: Timeline, replayed: Replayed, capacity: int) -> bool:
    """Whether the allocator gets through with so many bytes, once it has given back all that it need not keep."""
    if not replayed.allocated <= capacity < replayed.reserved:
        return replayed.allocated <= capacity
    try:
        replay(timeline, capacity)
    except OutOfMemory:
        return False
    return True


def reserved_within(timeline: Timeline, replayed: Replayed, room: Room, found: Verdict) -> int | None:
    """The peak of what is reserved in the room that the verdict is about; None where it does not fit."""
    if found == "does not fit":
        return None
    capacity = room.left("most" if found == "fits" else "least")
    return replayed.reserved if replayed.reserved <= capacity else replay(timeline, capacity).reserved


class Line(NamedTuple):
    """Bytes by the micro-batch."""

    fixed: float
    each: float

    @classmethod
    def through(cls, one: tuple[int, int], other: tuple[int, int]) -> Line:
        each = (other[1] - one[1]) / (other[0] - one[0])
        return cls(one[1] - each * one[0], each)

    def at(self, batch: int) -> int:
        return round(self.fixed + self.each * batch)

    def largest(self, capacity: int, limit: int) -> int:
        """The largest micro-batch within a capacity, at most ``limit``."""
        if self.each <= 0:
            return limit if self.fixed <= capacity else 0
        return min(max(int((capacity - self.fixed) // self.each), 0), limit)


class Need(NamedTuple):
    allocated: int
    #: Whether there is room for it.
    held: bool


def needs(timeline_of: Callable[[int], Timeline], capacity: int) -> Callable[[int], Need]:
    """What ``largest_batch`` asks of a micro-batch, by its timeline."""

    def need(batch: int) -> Need:
        timeline = timeline_of(batch)
        replayed = replay(timeline)
        return Need(replayed.allocated, holds(timeline, replayed, capacity))

    return need


def largest_batch(first: int, need: Callable[[int], Need], capacity: int, limit: int) -> LargestBatch:
    """Search from ``first`` on; ``need`` goes through a micro-batch, which takes seconds."""
    seen = {first: need(first)}
    predicted: tuple[int, int] | None = None
    if not seen[first].held and first == 1:
        return LargestBatch(batch_size=0, allocated={1: seen[1].allocated})
    second = min(2 * first, limit) if seen[first].held else first // 2
    if second not in seen:
        seen[second] = need(second)
    for number in range(_CHECKS):
        low = max((batch for batch, each in seen.items() if each.held), default=0)
        high = min((batch for batch, each in seen.items() if not each.held), default=limit + 1)
        if high - low <= 1:
            break
        in_pieces = sum(not each.held and each.allocated <= capacity for each in seen.values())
        if in_pieces and seen[high].allocated <= capacity:
            # No line of what is allocated tells when the allocator gives up.
            back = max(high // _IN_PIECES, 1) << (in_pieces - 1)
            batch = max(high - back, (low + high) // 2)
        elif number >= _LINES and high <= limit:
            batch = (low + high) // 2
        else:
            # What is nearest to the limit tells most: steps in it (chunks, segments) are no line.
            one, other = sorted(seen, key=lambda batch: abs(seen[batch].allocated - capacity))[:2]
            line = Line.through((one, seen[one].allocated), (other, seen[other].allocated))
            batch = max(line.largest(capacity, limit), 1)
            if batch <= low:
                break
            batch = min(batch, high - 1)
            predicted = batch, line.at(batch)
        seen[batch] = need(batch)
    if 1 not in seen and not any(each.held for each in seen.values()):
        seen[1] = need(1)
    low = max((batch for batch, each in seen.items() if each.held), default=0)
    return LargestBatch(
        batch_size=low,
        allocated={batch: seen[batch].allocated for batch in sorted(seen)},
        predicted=predicted,
        is_limit=low == limit,
    )
