"""SVG that fits any width without scaling its text.

Horizontal places are per cent of the width and vertical ones pixels, so a chart of 1000 pixels and one of 360 have
the same letters. Curves, which know no per cent, are drawn in a stretched inner ``svg`` with strokes that stay.
Colours are CSS classes of the page: light, dark and print are its business. Every value goes through Markup's escape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from hotlap.report.text import printable, shorten

#: The plot area in per cent of the width: what is left of it holds the figures of the vertical axis.
LEFT, RIGHT = 12.0, 99.0


class Scale(NamedTuple):
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def inside(self, value: float) -> float:
        """Return the place of a value, or the edge beyond which it lies."""
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values between two others."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    if not (power > 0 and math.isfinite(rough)):
        return [low]
    step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - rough))
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the shortest labels that tell the ticks apart."""
    gaps = [after - before for before, after in itertools.pairwise(values)]
    apart = min(gaps, default=0.0) or max(map(abs, values), default=0.0)
    for decimals in range(6):
        labels = [f"{value + 0.0:,.{decimals}f}" for value in values]
        exact = all(
            abs(float(label.replace(",", "")) - value) <= 1e-3 * apart
            for label, value in zip(labels, values, strict=True)
        )
        if exact and max(map(len, labels), default=0) <= 7:
            return labels
    return [f"{value:.3g}" for value in values]


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """Return an element; ``_`` in names of attributes stands for ``-``, and ``class_`` for ``class``."""
    shown = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-") if "_" in key else key, _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child if isinstance(child, Markup) else printable(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), shown, inner)


def svg(height: float, title: str, description: str, *children: Markup | str) -> Markup:
    """Return a chart as wide as its place, ``height`` pixels high.

    A screen reader says the title and what the chart shows, and none of its marks.
    """
    words = [element("title", title), element("desc", shorten(description))]
    return element("svg", *words, *children, class_="chart", role="img", width="100%", height=height)


def label(x: float, y: float, content: str, *, anchor: str = "start", class_: str = "tick") -> Markup:
    return element("text", content, x=per_cent(x), y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=per_cent(x1), y1=y1, x2=per_cent(x2), y2=y2, class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str, tooltip: str, inside: str = "") -> Markup:
    """Return a bar with a tooltip; the page hides the words inside where it is too narrow for them."""
    words = element("text", inside, x=6, y=height / 2 + 4, class_=f"on on-{class_}") if inside else ""
    return element(
        "svg",
        element("title", tooltip),
        element("rect", width="100%", height=height, class_=class_),
        words,
        x=per_cent(x),
        y=y,
        width=per_cent(max(width, 0.0)),
        height=height,
    )


def dot(x: float, y: float, class_: str, tooltip: str, radius: float = 3.5) -> Markup:
    return element("circle", element("title", tooltip), cx=per_cent(x), cy=y, r=radius, class_=class_)


def triangle(x: float, y: float, class_: str, tooltip: str) -> Markup:
    """Return a mark for a value beyond the axis or out of the ordinary."""
    shape = element("path", d="M0,-5 L5,4 L-5,4 Z", class_=class_)
    return element("svg", element("title", tooltip), shape, x=per_cent(x), y=y, overflow="visible")


def curve(points: Iterable[tuple[float, float] | None], height: float, class_: str) -> Markup:
    """Return a line through points of 0 to 1000 across and pixels down, broken where there is None."""
    path, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        path.append(f"{pen}{point[0]:.1f},{point[1]:.1f}")
        pen = "L"
    return element(
        "svg",
        element("path", d=" ".join(path), class_=class_, vector_effect="non-scaling-stroke"),
        x=per_cent(LEFT),
        width=per_cent(RIGHT - LEFT),
        height=height,
        viewBox=f"0 0 1000 {height:g}",
        preserveAspectRatio="none",
    )


def vertical_axis(scale: Scale, title: str) -> list[Markup]:
    """Return grid lines with their figures, and what they are in, above them."""
    values = ticks(scale.low, scale.high, 4)
    parts = [label(0, 12, title, class_="axis")]
    for value, shown in zip(values, tick_labels(values), strict=True):
        parts.append(line(LEFT, scale(value), RIGHT, scale(value), "grid"))
        parts.append(label(LEFT - 1, scale(value) + 4, shown, anchor="end"))
    return parts


def horizontal_axis(scale: Scale, y: float, title: str, *, top: float | None = None, about: int = 5) -> list[Markup]:
    """Return the figures under a plot and what they are in; with ``top`` also grid lines from there."""
    values = ticks(scale.low, scale.high, about)
    parts = []
    for value, shown in zip(values, tick_labels(values), strict=True):
        place = scale(value)
        anchor = "start" if place < 3 else "end" if place > 97 else "middle"
        if top is not None:
            parts.append(line(place, top, place, y, "grid"))
        parts.append(label(place, y + 15, shown, anchor=anchor))
    return [*parts, label((scale.start + scale.end) / 2, y + 32, title, anchor="middle", class_="axis")]


def per_cent(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
