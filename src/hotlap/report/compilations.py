"""What ``torch.compile`` compiled, when and why, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import RenderableType

from hotlap.records import Compilation
from hotlap.report import text
from hotlap.report.blocks import heading, labelled, prose, table

#: The longest ones are listed.
_SHOWN = 8
_LONGEST_REASON = 160


class Row(NamedTuple):
    step: str
    seconds: float
    what: str
    #: Why it was compiled again, "" where it was not compiled before.
    reason: str


def rows(found: Sequence[Compilation]) -> list[Row]:
    """Return the longest compilations, in the order in which they happened."""
    longest = sorted(sorted(found, key=lambda each: -each.seconds)[:_SHOWN], key=lambda each: each.t)
    return [Row(_step(each), each.seconds, _what(each), _reason(each)) for each in longest]


def summary(found: Sequence[Compilation]) -> str:
    whole = text.seconds(math.fsum(each.seconds for each in found))
    left = f"; {len(found) - _SHOWN} shorter ones are not listed" if len(found) > _SHOWN else ""
    return f"{text.plural(len(found), 'compilation')}, {whole}{left}."


def compilations(found: Sequence[Compilation]) -> list[RenderableType]:
    if not found:
        return []
    shown = rows(found)
    unit = text.unit([max(row.seconds for row in shown)])
    cells = [("step", "time", "what"), *((row.step, unit(row.seconds), row.what) for row in shown)]
    header, *lines = table(cells, ">><", header=True)
    parts: list[RenderableType] = [*heading("Compilations"), header]
    for row, line in zip(shown, lines, strict=True):
        parts.append(line)
        if row.reason:
            parts.append(labelled("    again because of: ", row.reason, style="dim"))
    parts.append(prose(summary(found), indent=2, style="dim"))
    return parts


def _step(each: Compilation) -> str:
    return "outside" if each.step is None else str(each.step)


def _what(each: Compilation) -> str:
    what = text.shorten(each.what or text.NA, 50)
    return f"{what}, backward" if each.backward else what


def _reason(each: Compilation) -> str:
    """Without the source that dynamo quotes."""
    return text.shorten((each.reason or "").partition("  # ")[0].strip(), _LONGEST_REASON)
