"""Two stored runs side by side, for the terminal: what differs between them first, and last what they cannot tell."""

from __future__ import annotations

import math
import shlex

from rich.console import RenderableType

from hotlap.records import FindingShift, StoredComparison, StoredRun
from hotlap.report import text, view
from hotlap.report.blocks import Report, blank, bullets, heading, labelled, prose, table

_STYLES = {"faster": "bold", "slower": "bold", "unclear": "bold yellow", "not faster": "bold"}
_WORDS = {
    "faster": "B's recorded steps are faster than A's",
    "slower": "B's recorded steps are slower than A's",
    "not faster": "B's recorded steps are not faster than A's",
    "unclear": "Unclear whether B's recorded steps are faster than A's",
}


def stored(comparison: StoredComparison) -> Report:
    """Return what two recordings say about each other."""
    a, b = comparison.a, comparison.b
    parts: list[RenderableType] = [
        prose(headline(comparison), style=_STYLES[comparison.judgement]),
        blank(),
        *(part for name, run in (("A", a), ("B", b)) for part in _run(name, run)),
        *_differs(comparison),
        *_speed(comparison),
        *_phases(a, b),
        *_findings(comparison.findings),
        *heading("Losses"),
        prose(text.sentence(comparison.losses), indent=2),
    ]
    if comparison.warnings:
        parts += [*heading("Warnings"), *bullets(map(text.sentence, comparison.warnings))]
    parts += [*heading("What two recordings cannot tell"), *bullets(comparison.limits)]
    parts += [*heading("To prove it"), *(prose(line, indent=2) for line in proof(a, b))]
    return Report(parts)


def headline(comparison: StoredComparison) -> str:
    measured = comparison.effect
    figures = f"{text.ratio(measured.ratio)} {text.interval(measured)} in {comparison.unit}/s"
    # Without how sure the interval is: it knows nothing of what moved a whole run.
    said = f"{_WORDS[comparison.judgement]}: {figures}, {text.plural(measured.n, 'pair')} of blocks."
    if comparison.comparable:
        return f"{said} They were not measured in turns, so this is no proof."
    deciding = [each for each in comparison.configuration if each.decides]
    unlike = [f"{each.name} {each.a} and {each.b}" for each in deciding]
    if comparison.environment:
        unlike.append("machine or versions" if len(comparison.environment) > 1 else comparison.environment[0])
    return f"Not comparable as they stand ({'; '.join(unlike)}). {said}"


def proof(a: StoredRun, b: StoredRun) -> list[str]:
    """Return what to type to measure both in turns."""
    commands = [shlex.quote(text.command(each.command)) for each in (a, b)]
    told = [f"hotlap compare --a {commands[0]} --b {commands[1]}"]
    if commands[0] == commands[1]:
        told.append(
            "The commands are the same, so what differs is outside of them: give --a and --b what does (another folder "
            "of the code, another configuration)."
        )
    return told


def _run(name: str, run: StoredRun) -> list[RenderableType]:
    ran = f"{run.name}, {run.date}, {text.plural(run.steps, 'step')} ({run.steady_steps:,} steady), {run.outcome}"
    return [labelled(f"{name}  ", ran, style="dim"), labelled("   ", text.command(run.command), style="dim")]


def _differs(comparison: StoredComparison) -> list[RenderableType]:
    parts = heading("What differs")
    if not comparison.environment and not comparison.configuration:
        return [*parts, prose("Nothing that was recorded: machine, versions and settings are the same.", indent=2)]
    parts += bullets(map(text.sentence, comparison.environment))
    rows = [("setting", "A", "B")]
    rows += [(each.name, each.a, each.b) for each in comparison.configuration if each.name != "command"]
    if any(each.name == "command" for each in comparison.configuration):
        parts += bullets(["The command, as above."])
    return [*parts, *(table(rows, "<<<", header=True) if len(rows) > 1 else [])]


def _speed(comparison: StoredComparison) -> list[RenderableType]:
    a, b = comparison.a, comparison.b
    shown = text.unit([a.step_seconds, b.step_seconds])
    rows = [
        ("", "A", "B"),
        ("step (median)", shown(a.step_seconds), shown(b.step_seconds)),
        ("throughput", text.rate(a.throughput), text.rate(b.throughput)),
        ("samples of a step", *(text.NA if each is None else f"{each:,g}" for each in (a.samples, b.samples))),
        ("peak memory", text.size(a.peak_memory), text.size(b.peak_memory)),
        ("peak device memory", text.size(a.peak_device_memory), text.size(b.peak_device_memory)),
    ]
    known = [row for row in rows if set(row[1:]) != {text.NA}]
    return [*heading("Speed and memory"), *table(known, "<>>", header=True)]


def _phases(a: StoredRun, b: StoredRun) -> list[RenderableType]:
    old, new = view.leaves(a.phases), view.leaves(b.phases)
    rows = [(name, old.get(name), new.get(name)) for name in view.in_order([*old, *new])]
    rows.append((view.SUM, math.fsum(old.values()), math.fsum(new.values())))
    shown = text.unit(value for row in rows for value in (row[1] or 0.0, row[2] or 0.0))
    cells = [("phase", "A", "B", "difference")]
    for name, before, after in rows:
        old_figure, new_figure = ("none" if value is None else shown(value) for value in (before, after))
        cells.append((name, old_figure, new_figure, shown.signed((after or 0.0) - (before or 0.0))))
    return [*heading("A steady step (leaves, means)"), *table(cells, "<>>>", header=True)]


def _findings(shifts: list[FindingShift]) -> list[RenderableType]:
    parts = heading("Findings")
    if not shifts:
        return [*parts, prose("None in either.", indent=2)]
    return [*parts, *bullets(f"{each.code} {each.state}: {each.title} ({_stake(each)})." for each in shifts)]


def _stake(shift: FindingShift) -> str:
    def one(seconds: float | None) -> str:
        return "not found" if seconds is None else text.seconds(seconds) if seconds > 0 else "found, no time at stake"

    return f"A {one(shift.a)}, B {one(shift.b)}"
