"""What ``torch.compile`` compiled, when and why, as lines of the terminal's report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import RenderableType

from hotlap.records import Compilation
from hotlap.report import text
from hotlap.report.blocks import heading, labelled, prose, table

#: The longest ones are listed.
_SHOWN = 8
_LONGEST_REASON = 160


def compilations(found: Sequence[Compilation]) -> list[RenderableType]:
    if not found:
        return []
    shown = sorted(sorted(found, key=lambda each: -each.seconds)[:_SHOWN], key=lambda each: each.t)
    unit = text.unit([max(each.seconds for each in shown)])
    rows = [("step", "time", "what")]
    rows += [(_step(each), unit(each.seconds), text.shorten(_what(each), 50)) for each in shown]
    header, *lines = table(rows, ">><", header=True)
    parts: list[RenderableType] = [*heading("Compilations"), header]
    for each, line in zip(shown, lines, strict=True):
        parts.append(line)
        if each.reason:
            parts.append(
                labelled(
                    "    again because of: ",
                    text.shorten(each.reason.partition("  # ")[0], _LONGEST_REASON),
                    style="dim",
                )
            )
    whole = text.seconds(math.fsum(each.seconds for each in found))
    left = f"; {len(found) - _SHOWN} shorter ones are not listed" if len(found) > _SHOWN else ""
    parts.append(prose(f"{text.plural(len(found), 'compilation')}, {whole}{left}.", indent=2, style="dim"))
    return parts


def _step(each: Compilation) -> str:
    return "before" if each.step is None else str(each.step)


def _what(each: Compilation) -> str:
    what = each.what or text.NA
    return f"{what}, backward" if each.backward else what
