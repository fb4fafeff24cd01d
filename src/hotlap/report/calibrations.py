"""What this machine was measured to do, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Calibration
from hotlap.report import text
from hotlap.report.blocks import Report, heading, prose, table

#: More waiting for cores than this, and somebody else was computing, too.
_BUSY = 0.05
_BY_WIDTH = frozenset(("product", "batched", "attention", "recurrent"))


def calibration(found: Calibration, path: str) -> Report:
    """Return the rates by kind of operator, and where they are kept."""
    rows: list[tuple[str, ...]] = [("operator", "type", "least", "most", "")]
    for rate in found.rates.table:
        values = [value for _, value in rate.points]
        by_width = rate.kind in _BY_WIDTH or rate.kind.startswith("convolution")
        unit = "GFLOP/s" if by_width else "GB/s"
        ends = (text.figure(min(values) / 1e9), text.figure(max(values) / 1e9))
        rows.append((rate.kind.replace("_", " "), rate.dtype, *ends, unit))
    parts: list[RenderableType] = [
        prose(
            f"{found.cpu}, {text.plural(found.threads, 'thread')}, torch {found.torch}: measured in "
            f"{text.seconds(found.seconds)}. A call costs {text.seconds(found.rates.overhead)}.",
            style="bold",
        )
    ]
    if found.pressure is not None and found.pressure > _BUSY:
        parts.append(
            prose(
                f"Something waited for a core in {text.percent(found.pressure)} of the minute before, so these rates "
                "may be too low: measure again when nothing else runs.",
                style="yellow",
            )
        )
    parts += [*heading("Rates, over the sizes that were measured"), *table(rows, "<<>><", header=True)]
    return Report([*parts, prose(f"Kept in {path}, for `hotlap estimate CONFIG --gpu cpu`.", indent=2, style="dim")])
