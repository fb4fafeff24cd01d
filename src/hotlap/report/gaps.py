"""A measured step beside what its work needs: the sentences and the table, and both for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Gap
from hotlap.report import text
from hotlap.report.blocks import Report, blank, heading, prose, table

HEADER = ("", "measured", "at best", "expected", "beyond", "of step")
_WORDS = (
    "At best: each operator at the device's best rate and at its bandwidth, the longer of both. "
    "Expected: with what operators of such sizes reach, and what calls take; both are estimated, the step is measured. "
    "MFU is model FLOPs utilization: the share of the step that its operations, without recomputation, need at the "
    "device's best rates. Operators without a formula count as none; their bytes are counted."
)
_ON_GPU = (
    "On a GPU the phases are told by the host, which runs ahead of the device: their sum is the step, and the row in "
    "which the host waits is not the one that took the time (`hotlap profile` shows the device's own phases)."
)


def headline(found: Gap) -> str:
    return (
        f"This step takes {text.seconds(found.step)}. Its arithmetic needs {text.seconds(found.arithmetic)} at this "
        f"device's rate, its bytes {text.seconds(found.moving)}; here is where the rest goes."
    )


def basis(found: Gap) -> str:
    """Return what the figures stand on: rates and work."""
    recomputed = found.flops - found.model_flops
    again = f", of which {text.figure(recomputed / 1e9)} computed again" if recomputed else ""
    rates = "".join(f"{text.figure(rate / 1e9)} GFLOP/s ({name}), " for name, rate in found.best_flops.items())
    return (
        f"{found.device}: {rates}{text.figure(found.best_bandwidth / 1e9)} GB/s, {found.best_from}. A step has "
        f"{text.figure(found.flops / 1e9)} GFLOP{again}, {text.size(found.bytes)} read and written, "
        f"{text.figure(found.operators)} operators ({found.counted}). Median of {text.plural(found.steps, 'step')}."
    )


def rows(found: Gap) -> list[tuple[str, ...]]:
    """Return a line for each phase under ``HEADER``, what takes most beyond its work first, and the step's."""
    lines = [
        _row(found, row.name.replace("_", " "), row.measured, row.at_best, row.expected)
        for row in sorted(found.rows, key=lambda each: each.expected - each.measured)
    ]
    sums = (sum(getattr(row, name) for row in found.rows) for name in ("measured", "at_best", "expected"))
    return [*lines, _row(found, "the step", *sums)]


def _row(found: Gap, name: str, measured: float, at_best: float, expected: float) -> tuple[str, ...]:
    beyond = measured - expected
    return (
        name,
        text.seconds(measured),
        text.seconds(at_best) if at_best else "-",
        text.seconds(expected) if expected else "-",
        ("+" if beyond >= 0 else "-") + text.seconds(abs(beyond)),
        text.percent(beyond / found.step),
    )


def reached(found: Gap) -> str:
    expected = sum(row.expected for row in found.rows)
    return (
        f"MFU {text.percent(found.mfu)}. Estimated with what such operators reach, the step takes "
        f"{text.seconds(expected)} of {text.seconds(found.step)}."
    )


def doubts(found: Gap) -> list[str]:
    said = []
    if found.mfu > 1:
        said.append(
            "That is more than the device was measured to do: it must have been busy then. Run `hotlap estimate "
            "--calibrate` again when nothing else computes."
        )
    if found.unknown:
        said.append(f"Not in any list, and counted by their bytes: {', '.join(found.unknown)}.")
    return said


def words(found: Gap) -> str:
    """Return what the columns mean."""
    return f"{_WORDS} {_ON_GPU}" if found.on_gpu else _WORDS


def _shown(found: Gap) -> list[RenderableType]:
    return [
        prose(basis(found), indent=2, style="dim"),
        blank(),
        *table([HEADER, *rows(found)], "<>>>>>", header=True),
        blank(),
        prose(reached(found), indent=2),
        *(prose(doubt, indent=2, style="yellow") for doubt in doubts(found)),
        blank(),
        prose(words(found), indent=2, style="dim"),
    ]


def gap(found: Gap) -> Report:
    """Return the sentence of the gap, and where the rest of the step goes."""
    return Report([prose(headline(found), style="bold"), *_shown(found)])


def section(found: Gap | None) -> list[RenderableType]:
    """Return the same as a section of a profile, nothing where it is not known."""
    if found is None:
        return []
    return [*heading("The step beside what its work needs"), prose(headline(found), indent=2), *_shown(found)]
