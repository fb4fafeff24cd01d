"""What a timeline comes to on a device: peaks, the moment of the peak, and what lives then."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from hotlap.estimate import timeline as lives
from hotlap.estimate.allocator import replay
from hotlap.estimate.timeline import Block, Timeline
from hotlap.estimate.workspace import allowances
from hotlap.records import MemoryEstimate, Moment

Device = Literal["cuda", "cpu"]
#: Levels of a module's path by which activations are summed up.
_DEPTH = 4
_HOLDERS = 12


def summed(timeline: Timeline, *, device: Device, capability: tuple[int, int] | None, seconds: float) -> MemoryEstimate:
    """What a timeline comes to on a device; ``seconds`` that it took to get it."""
    if device == "cuda":
        timeline = on_card(timeline)
        replayed = replay(timeline)
        event, allocated, reserved = replayed.event, replayed.allocated, replayed.reserved
    else:
        allocated, event = lives.peak(timeline)
        reserved = None
    return MemoryEstimate(
        device=device,
        requested=lives.peak(timeline).size,
        allocated=allocated,
        reserved=reserved,
        moment=_moment(timeline, event),
        categories=_categories(lives.alive(timeline, event)),
        holders=_holders(lives.alive(timeline, event)),
        steps=_by_step(timeline),
        allowances=allowances(capability) if device == "cuda" else [],
        blocks=len(timeline.blocks),
        seconds=seconds,
    )


def on_card(timeline: Timeline) -> Timeline:
    """Without what stays in the memory of the host."""
    return lives.without(timeline, lambda block: block.category == "host")


def _moment(timeline: Timeline, event: int) -> Moment:
    block = timeline.blocks[timeline.events[event]]
    return Moment(step=block.step, phase=block.phase, module=block.module, operator=block.operator)


def _categories(blocks: list[Block]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for block in blocks:
        sums[block.category] += block.size
    return dict(sums.most_common())


def _holders(blocks: list[Block]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for block in blocks:
        if block.category in ("activation", "cast"):
            sums[".".join(block.module.split(".")[:_DEPTH])] += block.size
    return dict(sums.most_common(_HOLDERS))


def _by_step(timeline: Timeline) -> dict[int, int]:
    peaks: dict[int, int] = {}
    step = 0
    for event, size in zip(timeline.events, lives.sizes(timeline), strict=True):
        if event >= 0:
            step = max(step, timeline.blocks[event].step)
        peaks[step] = max(peaks.get(step, 0), size)
    return peaks
