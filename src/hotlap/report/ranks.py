"""The ranks of a training side by side."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis
from hotlap.report import blocks, text

#: More of them fill the screen; the record has them all.
_SHOWN = 16


def table(diagnosis: Diagnosis) -> list[RenderableType]:
    """Return a line for each rank, or nothing where there is one."""
    shown = diagnosis.ranks[:_SHOWN]
    if not shown:
        return []
    seconds = text.unit([rank.step for rank in shown])

    def cell(value: float | None) -> str:
        return seconds(value) if value is not None else text.NA

    rows = [["rank", "step", "data wait", "forward", "backward", "sync", "hidden", "samples"]]
    for rank in shown:
        phases = rank.phases
        rows.append(
            [
                str(rank.rank),
                cell(rank.step),
                cell(phases.get("data_wait")),
                cell(phases.get("forward")),
                cell(phases.get("backward", 0.0) + phases.get("recompute", 0.0)),
                cell(rank.sync_exposed),
                cell(rank.sync_overlapped),
                text.figure(rank.samples) if rank.samples is not None else text.NA,
            ]
        )
    parts = [*blocks.heading("Ranks (means)"), *blocks.table(rows, "<>>>>>>>", header=True)]
    note = "sync: waiting for other ranks and their gradients; hidden: reducing beside backward."
    if len(diagnosis.ranks) > _SHOWN:
        note += f" {len(diagnosis.ranks) - _SHOWN} more ranks are in the record."
    return [*parts, blocks.prose(note, indent=2, style="dim")]
