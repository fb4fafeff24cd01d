"""Which pieces of memory lived when: what a tracker writes down, and what can be read from it.

    Block 0   |=====================================|   parameter
    Block 1        |==================|                 activation
    Block 2             |==|                            temporary
    events    0    1    2  ~2         ~1            ~0  a number is a birth, its complement a death

A block is one storage, however many tensors and views share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Phase = Literal["setup", "forward", "backward", "recompute", "optimizer"]
#: ``cast``: a parameter in another precision, as autocast makes it. ``host``: stays in the CPU's memory. ``kept``: a
#: script made it before its first step.
Category = Literal[
    "parameter",
    "buffer",
    "gradient",
    "optimizer",
    "input",
    "cast",
    "activation",
    "temporary",
    "workspace",
    "host",
    "kept",
]
#: Of floating-point operations by torch's formulas.
Kind = Literal["convolution", "product"]


@dataclass(slots=True)
class Block:
    size: int
    #: That made it, as in ``aten.convolution``; "" for what was there before the tracker.
    operator: str
    #: Path of the innermost module, "" outside of all.
    module: str
    phase: Phase
    #: Number of the step, 0 before the first.
    step: int
    category: Category = "temporary"


class Timeline(NamedTuple):
    blocks: list[Block]
    events: list[int]


class Peak(NamedTuple):
    size: int
    #: Number of the event with which it was reached.
    event: int


def sizes(timeline: Timeline) -> Iterator[int]:
    """Bytes alive after each event."""
    now = 0
    for event in timeline.events:
        now += timeline.blocks[event].size if event >= 0 else -timeline.blocks[~event].size
        yield now


def peak(timeline: Timeline) -> Peak:
    best = Peak(0, 0)
    for number, size in enumerate(sizes(timeline)):
        if size > best.size:
            best = Peak(size, number)
    return best


def alive(timeline: Timeline, event: int) -> list[Block]:
    """The blocks that live just after an event."""
    there: dict[int, Block] = {}
    for each in timeline.events[: event + 1]:
        if each >= 0:
            there[each] = timeline.blocks[each]
        else:
            there.pop(~each, None)
    return list(there.values())


def with_first_step(timeline: Timeline, state: int, step: int) -> Timeline:
    """Two steps out of the one at ``step``: the first is a copy of it, before there is the state of the optimizer.

        setup | state | step   becomes   setup | copy of the step | state | step

    What makes the state is far shorter than a step, so that a timeline is had in half of the time.
    """
    setup, first, second = timeline.events[:state], timeline.events[state:step], timeline.events[step:]
    dying = {~event for event in second if event < 0}
    blocks, copies, copied = list(timeline.blocks), {}, []
    for event in second:
        block = event if event >= 0 else ~event
        if event >= 0 and event in dying:
            copies[event] = len(blocks)
            blocks.append(replace(timeline.blocks[event], step=1))
        if block in copies:
            copied.append(copies[block] if event >= 0 else ~copies[block])
    return Timeline(blocks, [*setup, *copied, *first, *second])


def without(timeline: Timeline, leave_out: Callable[[Block], bool]) -> Timeline:
    """The same, with some blocks never born."""
    kept = [event for event in timeline.events if not leave_out(timeline.blocks[event if event >= 0 else ~event])]
    return Timeline(timeline.blocks, kept)
