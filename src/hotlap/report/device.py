"""The device's own seconds beside the host's, in the tables of a step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from hotlap.records import DevicePhase, DevicePhases
from hotlap.report import text
from hotlap.report.blocks import prose, table
from hotlap.report.text import Unit
from hotlap.report.view import PhaseRow

#: Bounds that differ by less than this are one figure.
_SAME = 0.05


def beside(
    cells: Sequence[Sequence[str]], rows: Sequence[PhaseRow], seen: DevicePhases, unit: Unit
) -> list[RenderableType]:
    """Return the table of a step with a column for the device; ``cells`` are those of ``rows``, and of their sum."""
    lines = [("phase", "host", "device", "of step", "")]
    own = column(rows, seen, unit)
    lines += [(name, host, device, share, bar) for (name, host, share, bar), device in zip(cells, own, strict=True)]
    return [*table(lines, "<>>><", header=True), prose(note(seen), indent=2, style="dim")]


def column(rows: Sequence[PhaseRow], seen: DevicePhases, unit: Unit) -> list[str]:
    """Return a cell for each of the rows, and for their sum."""
    known = [_one(seen.phases.get(row.phase), unit) if row.leaf else "" for row in rows]
    at_least = sum(phase.at_least for phase in seen.phases.values())
    at_most = sum(phase.at_most for phase in seen.phases.values())
    return [*known, _bounds(at_least, at_most, unit)]


def _one(phase: DevicePhase | None, unit: Unit) -> str:
    return text.NA if phase is None else _bounds(phase.at_least, phase.at_most, unit)


def _bounds(at_least: float, at_most: float, unit: Unit) -> str:
    low, high = unit.number(at_least), unit(at_most)
    near = at_most - at_least <= _SAME * at_most or low == unit.number(at_most)
    return unit((at_least + at_most) / 2) if near else f"{low}–{high}"


def note(seen: DevicePhases) -> str:
    watched = text.plural(seen.steps, "step")
    held = f" as they run, and {seen.held} for which it was held back until the host was ahead" if seen.held else ""
    low, high = text.percent(seen.busy_at_least), text.percent(seen.busy_at_most)
    share = low if low == high else f"{low} to {high}"
    waits = text.seconds(seen.host_waits)
    return (
        f"Device: for how long it worked on what the phase handed over, or bounds of that, from {watched}{held}. "
        f"It is at work {share} of the step; the host may wait for it for {waits}."
    )
