"""The stages of the models as a table: names indented by nesting, seconds of which only the leaves add up."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType

from hotlap.diagnose import stage_leaves
from hotlap.records import Diagnosis, StageRow
from hotlap.report import text, view
from hotlap.report.blocks import heading, prose, table


def stages(diagnosis: Diagnosis) -> list[RenderableType]:
    tree = diagnosis.stages
    if tree is None:
        return []
    step = view.total(diagnosis.phases)
    unit = text.unit([tree.total])
    recomputes = any(leaf.recompute > 0 for leaf in stage_leaves(tree.rows))

    def shown(seconds: float) -> str:
        """Without the unit, which the heading has: it would cost room that the names need."""
        return unit(seconds).partition(" ")[0]

    columns = ["forward", "backward", *(["recompute"] if recomputes else [])]
    cells = [["stage", *columns, "total", "of step", "module"]]
    for depth, row in _flat(tree.rows):
        share = text.percent(row.total / step if step > 0 else None)
        times = [shown(getattr(row, column)) for column in columns]
        cells.append(["  " * depth + row.name, *times, shown(row.total), share, _module(row)])
    sums = [shown(sum(getattr(leaf, column) for leaf in stage_leaves(tree.rows))) for column in columns]
    cells.append([view.SUM, *sums, shown(tree.total), text.percent(tree.total / step if step > 0 else None), ""])
    whose = "the device's own time" if tree.clock == "device" else "scaled to the phases of a usual step"
    note = (
        f"Medians of {text.plural(tree.steps, 'step')} watched from close by, {whose}. A line includes those below it."
    )
    if tree.levels is not None:
        note += f" Of the nesting, {text.plural(tree.levels, 'level')} could be followed."
    right = ">" * (len(columns) + 2)
    return [
        *heading(f"Stages of the model ({unit(0.0).partition(' ')[2]})"),
        *table(cells, f"<{right}<", header=True),
        prose(note, indent=2, style="dim"),
    ]


def _flat(rows: Iterable[StageRow], depth: int = 0) -> Iterable[tuple[int, StageRow]]:
    for row in rows:
        yield depth, row
        yield from _flat(row.children, depth + 1)


def _module(row: StageRow) -> str:
    return f"{row.count} x {row.module}" if row.count > 1 else row.module
