"""The same training on every card of the catalogue, from two micro-batches that were gone through."""

from __future__ import annotations

from collections.abc import Callable

from hotlap.estimate.allocator import replay
from hotlap.estimate.cards import Card, cards
from hotlap.estimate.device import of_catalogue
from hotlap.estimate.fitting import Line, verdict
from hotlap.estimate.timeline import Timeline
from hotlap.records import CardFit, StepTime


def every_card(
    timelines: dict[int, Timeline],
    limit: int,
    gradients: int,
    ranks: int,
    timer: Callable[[Card], StepTime | None],
) -> list[CardFit]:
    """``timelines``: by the micro-batch, that of the training first; where there is no other, the largest is not known.

    ``limit``: the largest micro-batch that the training can have; ``gradients``: their bytes.
    """
    now = next(iter(timelines.values()))
    replayed = replay(now)
    line = line_through(timelines) if len(timelines) > 1 else None
    found = []
    for card in cards():
        if card.memory is None:
            continue
        device = of_catalogue(card)
        room = device.room(gradients, ranks)
        fit = CardFit(
            name=card.name,
            memory=device.memory,
            verdict=verdict(now, replayed, room),
            largest=None if line is None else line.largest(room.left("most"), limit),
            time=timer(card),
        )
        found.append(fit)
    return found


def line_through(timelines: dict[int, Timeline]) -> Line:
    """Of what is allocated, and as large a share more that is reserved as with the larger of two micro-batches.

    Segments are no line: two small micro-batches may reserve the same, or one of them 20 MiB more.
    """
    found = {batch: replay(timeline) for batch, timeline in timelines.items()}
    larger = found[max(found)]
    one, other = ((batch, round(each.allocated * larger.reserved / larger.allocated)) for batch, each in found.items())
    return Line.through(one, other)
