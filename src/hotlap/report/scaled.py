"""A measured step on another device, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Scaled
from hotlap.report import text
from hotlap.report.blocks import Report, blank, heading, prose, table
from hotlap.report.step_times import spread, training

_SCALED = (
    "Computing is scaled by the ratio of two estimates, of the device that it was measured on and of the other; all "
    "else is kept as measured, though another machine has another processor, loader and storage. The band is the wider "
    "one of both estimates."
)


def scaled(found: Scaled) -> Report:
    """Return the step there, its parts with how each is known, and what follows from it."""
    rows: list[tuple[str, ...]] = [("here", "there", "", "")]
    rows += (
        (text.seconds(part.measured), text.seconds(part.scaled), part.known, part.name.replace("_", " "))
        for part in found.parts
    )
    rows.append((text.seconds(found.measured), text.seconds(found.step.likely), found.step.known, "the step"))
    here, there = found.modelled
    off = here.likely / found.measured - 1
    parts: list[RenderableType] = [
        prose(
            f"On {found.target} a step would take about {text.seconds(found.step.likely)} ({spread(found.step)}), and "
            f"here it takes {text.seconds(found.measured)}.",
            style="bold",
        ),
        prose(
            f"{found.run}: measured on {found.source}, median of {text.plural(found.steps, 'step')}. Its work: "
            f"{found.counted}.",
            indent=2,
            style="dim",
        ),
        blank(),
        *table(rows, ">><<", header=True),
        blank(),
        prose(
            f"Estimated alone: {text.seconds(here.likely)} here ({100 * off:+.0f} % of what was measured, waiting "
            f"included), {text.seconds(there.likely)} there ({spread(there)}).",
            indent=2,
        ),
    ]
    if found.horizon is not None:
        parts += [*heading("The training there"), prose(training(found.step, found.horizon), indent=2)]
    return Report([*parts, blank(), prose(_SCALED, indent=2, style="dim")])
