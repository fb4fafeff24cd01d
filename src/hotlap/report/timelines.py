"""One usual step as it went: a lane for each phase, time from left to right."""

from __future__ import annotations

import math

from markupsafe import Markup

from hotlap.records import Timeline
from hotlap.report import figures as svg
from hotlap.report import text, view

#: More spans than this cannot be told apart, and make the page heavy.
_MOST = 500
#: Per cent of the width that a span has at the least, or it could not be seen.
_THIN = 0.25
_LANE = 34
#: Letters of a phase's name: one may come from the script.
_NAME = 22


def chart(timeline: Timeline | None) -> Markup:
    """Return the lanes, or nothing where no step is known as it went."""
    if timeline is None or not timeline.seconds > 0:
        return Markup("")
    unit = text.unit([timeline.seconds])
    scale = svg.Scale(0.0, timeline.seconds / unit.factor, 0.0, 100.0)
    spans = sorted(timeline.spans, key=lambda span: -span.seconds)[:_MOST]
    lanes = view.in_order(span.phase for span in spans)
    totals = {lane: math.fsum(span.seconds for span in timeline.spans if span.phase == lane) for lane in lanes}
    bottom = 8.0 + _LANE * len(lanes)
    drawn = svg.horizontal_axis(scale, bottom, f"from the beginning of the step ({unit.name})", top=4)
    for i, lane in enumerate(lanes):
        times = sum(span.phase == lane for span in timeline.spans)
        often = f", {times} times" if times > 1 else ""
        drawn.append(
            svg.label(
                0.5, 4 + _LANE * i + 12, f"{text.shorten(lane, _NAME)}: {unit(totals[lane])}{often}", class_="tick halo"
            )
        )
    for span in sorted(spans, key=lambda span: span.start):
        x, end = scale(span.start / unit.factor), scale((span.start + span.seconds) / unit.factor)
        tooltip = f"{span.phase}: {unit(span.seconds)}, from {unit(span.start)}"
        y = 4.0 + _LANE * lanes.index(span.phase) + 17
        class_ = f"phase-{span.phase.replace(' ', '_')}"
        drawn.append(svg.bar(min(x, 100 - _THIN), y, max(end - x, _THIN), 12, class_, tooltip))
    words = "; ".join(f"{lane} {unit(total)}" for lane, total in totals.items())
    return svg.svg(bottom + 38, f"Step {timeline.step} as it went, {unit(timeline.seconds)}", words, *drawn)


def caption(timeline: Timeline) -> str:
    left = len(timeline.spans) - _MOST
    thin = f" {text.plural(left, 'span')} are too short to be drawn." if left > 0 else ""
    return (
        f"Step {timeline.step} ({text.seconds(timeline.seconds)}): the one in the middle, by its time, of the second "
        f"half of the run. A span is drawn wider than it is where it could not be seen otherwise.{thin}"
    )
