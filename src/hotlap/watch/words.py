"""Figures of a watch as words, and lines that fit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from hotlap.report import text
from hotlap.report.blocks import fit

#: Cells for what a line is about.
LABEL = 9
_GAP = "  "
#: A phase under this share of a step is not named.
_LEAST_SHARE = 0.005


def fields(label: str, parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit, after the label."""
    content = f"{label:{LABEL}}"
    for i, part in enumerate(filter(None, parts)):
        longer = content + (_GAP if i else "") + part
        if i and cell_len(longer) > width:
            break
        content = longer
    return content


def cut(content: str, width: int) -> str:
    content = text.printable(content)
    return fit(content, width) if cell_len(content) > width else content


def of(used: float | None, total: float | None) -> str:
    """Both in the unit of the whole."""
    if used is None or total is None:
        return f"{text.size(used)} of {text.size(total)}" if total is not None or used is not None else text.NA
    number, _, unit = text.size(total).partition(" ")
    factor = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}.get(unit, 1.0)
    return f"{used / factor:.1f} of {number} {unit}"


def percent(value: float | None) -> str:
    return text.NA if value is None else f"{value:.0f} %"


def rate(value: float | None) -> str:
    return text.NA if value is None else f"{text.size(value)}/s"


def elapsed(seconds: float) -> str:
    """As a stop watch shows it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def process_count(count: int) -> str:
    return f"{count:,} process{'' if count == 1 else 'es'}"


def clock(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))


def shares(phases: Mapping[str, float]) -> list[str]:
    """The phases of a step as shares of it, the largest first."""
    whole = sum(phases.values())
    largest = sorted(phases.items(), key=lambda each: -each[1])
    return [f"{name} {100 * seconds / whole:.0f} %" for name, seconds in largest if seconds > _LEAST_SHARE * whole]
