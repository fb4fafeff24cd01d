"""Where a training reads tensors in Python: a section of the profile."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis, Facts, Run, Sync
from hotlap.report import text
from hotlap.report.blocks import heading, prose, table

#: Lines that are shown; the rest is in the record.
_SHOWN = 6


HEADER = ("read", "a step", "seconds", "where")


def section(run: Run, diagnosis: Diagnosis) -> list[RenderableType]:
    cells = rows(diagnosis, run.info.cwd)
    if not cells:
        return []
    parts = [*heading(title(run.facts)), *table([HEADER, *cells], "<>><", header=True)]
    return [*parts, prose(note(diagnosis, run.facts), indent=2, style="dim")]


def title(facts: Facts) -> str:
    return "Tensors read in Python" if _on_cpu(facts) else "Reads from the device"


def rows(diagnosis: Diagnosis, cwd: str = "") -> list[tuple[str, str, str, str]]:
    """Return the costliest lines in the columns of ``HEADER``; files below ``cwd`` are named from there."""
    lines = diagnosis.syncs.lines[:_SHOWN] if diagnosis.syncs is not None else []
    shown = text.unit(line.seconds for line in lines)
    return [(line.what, text.figure(line.count), shown(line.seconds), where(line, cwd)) for line in lines]


def note(diagnosis: Diagnosis, facts: Facts) -> str:
    watched = text.plural(diagnosis.syncs.watched if diagnosis.syncs is not None else 0, "step")
    if _on_cpu(facts):
        return (
            f"In {watched} watched. Nothing is waited for on a CPU: these are the seconds of the reading itself. On a "
            "GPU each of them would wait for the device."
        )
    return f"In {watched} watched. The seconds are the wait until the device had computed the value."


def _on_cpu(facts: Facts) -> bool:
    return facts.device in (None, "cpu")


def where(line: Sync, cwd: str) -> str:
    file = line.file.removeprefix(cwd.rstrip("/") + "/") if cwd else line.file
    return f"{file}:{line.line} in {line.function}"
