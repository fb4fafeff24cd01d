"""A curve of the last looks in characters, the newest at the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

#: From nothing to a full cell, in eighths; without UTF-8 a few heights have to do.
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " ..::=+*#"


def graph(values: Sequence[float | None], width: int, rows: int, top: float | None, levels: str) -> list[str]:
    """Return so many rows, the upper one first, of a curve from 0 to ``top`` (or to its greatest value).

    A look at which the figure was missing leaves a gap; a figure of 0 does not.
    """
    shown = list(values)[-width:] if width > 0 else []
    known = [value for value in shown if _known(value)]
    most = top or max(known, default=0.0)
    heights = [_eighths(value, most, rows) if _known(value) else None for value in shown]
    lines = []
    for row in reversed(range(rows)):
        cells = (" " if height is None else levels[min(8, max(0, height - 8 * row))] for height in heights)
        lines.append("".join(cells).rjust(width))
    return lines


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _eighths(value: float, most: float, rows: int) -> int:
    """At least one, so that 0 is seen."""
    share = min(max(value / most, 0.0), 1.0) if most > 0 else 0.0
    return max(1, round(share * 8 * rows))
