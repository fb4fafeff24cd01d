"""A measured step beside what its work needs, and on another device, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Gap, Scaled
from hotlap.report import text
from hotlap.report.blocks import Report, blank, heading, prose, table
from hotlap.report.step_times import spread, training

_GAP = (
    "At best: each operator at the device's best rate and at its bandwidth, the longer of both. "
    "Expected: with what operators of such sizes reach, and what calls take; both are estimated, the step is measured. "
    "MFU is model FLOPs utilization: the share of the step that its operations, without recomputation, need at the "
    "device's best rates. Operators without a formula count as none; their bytes are counted."
)
_ON_GPU = (
    "On a GPU the phases are told by the host, which runs ahead of the device: their sum is the step, and the row in "
    "which the host waits is not the one that took the time (`hotlap profile` shows the device's own phases)."
)
_SCALED = (
    "Computing is scaled by the ratio of two estimates, of the device that it was measured on and of the other; all "
    "else is kept as measured, though another machine has another processor, loader and storage. The band is the wider "
    "one of both estimates."
)


def gap(found: Gap) -> Report:
    """Return the sentence of the gap, and where the rest of the step goes."""
    at_best = sum(row.at_best for row in found.rows)
    expected = sum(row.expected for row in found.rows)
    rows: list[tuple[str, ...]] = [("measured", "at best", "expected", "beyond", "of step", "")]
    rows += (
        (
            text.seconds(row.measured),
            text.seconds(row.at_best) if row.at_best else "-",
            text.seconds(row.expected) if row.expected else "-",
            _signed(row.measured - row.expected),
            text.percent((row.measured - row.expected) / found.step),
            row.name.replace("_", " "),
        )
        for row in sorted(found.rows, key=lambda each: each.expected - each.measured)
    )
    total = sum(row.measured for row in found.rows)
    rows.append(
        (
            text.seconds(total),
            text.seconds(at_best),
            text.seconds(expected),
            _signed(total - expected),
            text.percent((total - expected) / found.step),
            "the step",
        )
    )
    recomputed = found.flops - found.model_flops
    again = f", of which {text.figure(recomputed / 1e9)} computed again" if recomputed else ""
    rates = "".join(f"{text.figure(rate / 1e9)} GFLOP/s ({name}), " for name, rate in found.best_flops.items())
    parts: list[RenderableType] = [
        prose(
            f"This step takes {text.seconds(found.step)}. Its arithmetic needs {text.seconds(found.arithmetic)} at "
            f"this device's rate, its bytes {text.seconds(found.moving)}; here is where the rest goes.",
            style="bold",
        ),
        prose(
            f"{found.device}: {rates}{text.figure(found.best_bandwidth / 1e9)} GB/s, {found.best_from}. A step has "
            f"{text.figure(found.flops / 1e9)} GFLOP{again}, {text.size(found.bytes)} read and written, "
            f"{text.figure(found.operators)} operators ({found.counted}). Median of "
            f"{text.plural(found.steps, 'step')}.",
            indent=2,
            style="dim",
        ),
        blank(),
        *table(rows, ">>>>><", header=True),
        blank(),
        prose(
            f"MFU {text.percent(found.mfu)}. Estimated with what such operators reach, the step takes "
            f"{text.seconds(expected)} of {text.seconds(found.step)}.",
            indent=2,
        ),
    ]
    if found.mfu > 1:
        parts.append(
            prose(
                "That is more than the device was measured to do: it must have been busy then. Run `hotlap estimate "
                "--calibrate` again when nothing else computes.",
                indent=2,
                style="yellow",
            )
        )
    if found.unknown:
        parts.append(prose(f"Not in any list, and counted by their bytes: {', '.join(found.unknown)}.", indent=2))
    words = _GAP if not found.on_gpu else f"{_GAP} {_ON_GPU}"
    return Report([*parts, blank(), prose(words, indent=2, style="dim")])


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


def _signed(seconds: float) -> str:
    return ("+" if seconds >= 0 else "-") + text.seconds(abs(seconds))
