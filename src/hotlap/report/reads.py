"""Where a training reads tensors in Python: a section of the profile."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis, Run, Sync
from hotlap.report import text
from hotlap.report.blocks import heading, prose, table

#: Lines that are shown; the rest is in the record.
_SHOWN = 6


def section(run: Run, diagnosis: Diagnosis) -> list[RenderableType]:
    syncs = diagnosis.syncs
    if syncs is None or not syncs.lines:
        return []
    lines = syncs.lines[:_SHOWN]
    shown = text.unit(line.seconds for line in lines)
    rows = [("read", "a step", "seconds", "where")]
    rows += [(line.what, text.figure(line.count), shown(line.seconds), where(line, run.info.cwd)) for line in lines]
    on_cpu = run.facts.device in (None, "cpu")
    watched = text.plural(syncs.watched, "step")
    note = (
        f"In {watched} watched. Nothing is waited for on a CPU: these are the seconds of the reading itself. On a GPU "
        "each of them would wait for the device."
        if on_cpu
        else f"In {watched} watched. The seconds are the wait until the device had computed the value."
    )
    title = "Tensors read in Python" if on_cpu else "Reads from the device"
    return [*heading(title), *table(rows, "<>><", header=True), prose(note, indent=2, style="dim")]


def where(line: Sync, cwd: str) -> str:
    return f"{line.file.removeprefix(cwd.rstrip('/') + '/')}:{line.line} in {line.function}"
