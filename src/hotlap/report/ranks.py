"""The ranks of a training side by side."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis
from hotlap.report import blocks, text

#: More of them fill the screen; the record has them all.
_SHOWN = 16


HEADER = ("rank", "step", "data wait", "forward", "backward", "sync", "hidden", "samples")


def rows(diagnosis: Diagnosis) -> list[list[str]]:
    """Return a row for each rank, in the columns of ``HEADER``; none where there is one rank."""
    shown = diagnosis.ranks[:_SHOWN]
    seconds = text.unit([rank.step for rank in shown])

    def cell(value: float | None) -> str:
        return seconds(value) if value is not None else text.NA

    return [
        [
            str(rank.rank),
            cell(rank.step),
            cell(rank.phases.get("data_wait")),
            cell(rank.phases.get("forward")),
            cell(rank.phases.get("backward", 0.0) + rank.phases.get("recompute", 0.0)),
            cell(rank.sync_exposed),
            cell(rank.sync_overlapped),
            text.figure(rank.samples) if rank.samples is not None else text.NA,
        ]
        for rank in shown
    ]


def note(diagnosis: Diagnosis) -> str:
    said = "sync: waiting for other ranks and their gradients; hidden: reducing beside backward."
    if len(diagnosis.ranks) > _SHOWN:
        said += f" {len(diagnosis.ranks) - _SHOWN} more ranks are in the record."
    return said


def table(diagnosis: Diagnosis) -> list[RenderableType]:
    """Return a line for each rank, or nothing where there is one."""
    cells = rows(diagnosis)
    if not cells:
        return []
    parts = [*blocks.heading("Ranks (means)"), *blocks.table([HEADER, *cells], "<>>>>>>>", header=True)]
    return [*parts, blocks.prose(note(diagnosis), indent=2, style="dim")]
