"""The summary of a watch as a report for the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType

from hotlap.report import text
from hotlap.report.blocks import Report, blank, bullets, heading, labelled, prose, table
from hotlap.watch.summary import Figure, GpuSummary, Summary
from hotlap.watch.words import elapsed, percent, shares

#: Phases in a line.
_A_LINE = 4
_ENDED = {"training": "the training {}", "time": "the time is over", "stopped": "stopped"}


def report(found: Summary) -> Report:
    """Return the means, the peaks and the verdicts."""
    outcome = found.outcome or "ended"
    how = "has ended" if outcome == "ended" else f"is over: {outcome}"
    ended = _ENDED[found.ended].format(how)
    why = f" ({found.reason})" if found.reason else ""
    failed = [each.name for each in found.verdicts if each.verdict == "failed"]
    told = [each for each in found.verdicts if each.verdict != "n/a"]
    said = "There is no verdict: nothing that a goal asks about was seen."
    if told:
        said = f"Missed: {', '.join(failed)}." if failed else "No goal was missed."
    if found.warnings:
        said += f" {text.plural(len(found.warnings), 'warning')}, see below."
    style = "bold red" if failed else "bold yellow" if found.warnings else "bold green" if told else "bold"
    parts = [
        blank(),
        prose(said, style=style),
        prose(
            f"{found.name}, watched for {elapsed(found.seconds)} ({text.plural(found.looks, 'look')}); {ended}{why}.",
            style="dim",
        ),
        *heading("Means and peaks"),
        *table([("", "mean", "peak", ""), *_rows(found)], "<>><", header=True),
        *_recorded(found),
        *heading("Goals"),
    ]
    parts += [labelled(f"  {each.verdict:7} {each.name:22} ", each.evidence) for each in found.verdicts]
    if any(gpu.utilization for gpu in found.gpus if gpu.watched):
        parts += [
            blank(),
            prose(
                "Utilization is the share of the time in which anything ran on the card. It does not say how fast: "
                "judge a change by samples/s.",
                indent=2,
                style="dim",
            ),
        ]
    if found.warnings:
        parts += heading("Warnings")
        parts += bullets(
            f"{each.text} ({_span(each.first, each.last)})"
            for each in sorted(found.warnings, key=lambda one: one.first)
        )
    if found.missing:
        parts += [*heading("Not seen"), *bullets(found.missing)]
    return Report(parts)


def _rows(found: Summary) -> list[tuple[str, str, str, str]]:
    rows = [row for gpu in found.gpus for row in _gpu_rows(gpu)]
    rows.append(("CPU, all cores", *_figure(found.cpu, percent), ""))
    rows.append(
        ("CPU, the training", *_figure(found.processes_cpu, lambda value: f"{value:.2f}"), f"of {found.cores} cores")
    )
    rows.append(
        ("memory of the machine", *_figure(found.memory_used, text.size), f"of {text.size(found.memory_total)}")
    )
    rows.append(("memory, training (PSS)", *_figure(found.pss, text.size), ""))
    return rows


def _gpu_rows(gpu: GpuSummary) -> list[tuple[str, str, str, str]]:
    name = f"GPU {gpu.index}"
    note = gpu.name or "" if gpu.watched else "not used by the training"
    held = [f"{reason} {100 * share:.0f} %" for reason, share in gpu.throttled.items()]
    return [
        (f"{name} utilization", *_figure(gpu.utilization, percent), note),
        (f"{name} memory", *_figure(gpu.memory_used, text.size), f"of {text.size(gpu.memory_total)}"),
        (
            f"{name} power",
            *_figure(gpu.power, lambda value: f"{value:.0f} W"),
            f"held back: {', '.join(held)}" if held else "",
        ),
    ]


def _figure(figure: Figure | None, show: Callable[[float], str]) -> tuple[str, str]:
    return (text.NA, text.NA) if figure is None else (show(figure.mean), show(figure.peak))


def _recorded(found: Summary) -> list[RenderableType]:
    if not found.steps:
        return []
    named = shares(found.phases)
    return [
        blank(),
        prose(
            f"{text.plural(found.steps, 'step')}, {text.seconds(found.step_seconds)} each, "
            f"{text.rate(found.samples_per_second)}, loss {text.figure(found.loss, 4)} at the end",
            indent=2,
        ),
        prose(",\n".join(", ".join(named[i : i + _A_LINE]) for i in range(0, len(named), _A_LINE)), indent=2),
    ]


def _span(first: float, last: float) -> str:
    if last - first < 1:
        return f"after {elapsed(first)}"
    return f"from {elapsed(first)} to {elapsed(last)}"
