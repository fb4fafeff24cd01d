"""The stages of the models as a table: names indented by nesting, seconds of which only the leaves add up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from rich.console import RenderableType

from hotlap.diagnose import stage_leaves
from hotlap.records import Diagnosis, StageRow, StageTree
from hotlap.report import text, view
from hotlap.report.blocks import heading, prose, table


class Row(NamedTuple):
    depth: int
    name: str
    #: Seconds, in the order of ``columns``.
    times: list[float]
    total: float
    #: Of the step, 0 to 1.
    share: float | None
    module: str


def columns(tree: StageTree) -> list[str]:
    recomputes = any(leaf.recompute > 0 for leaf in stage_leaves(tree.rows))
    return ["forward", "backward", *(["recompute"] if recomputes else [])]


def rows(tree: StageTree, step: float) -> list[Row]:
    """Return a row for each stage of a step that takes so many seconds, and last the sum of the leaves."""

    def share(seconds: float) -> float | None:
        return seconds / step if step > 0 else None

    names = columns(tree)
    found = [
        Row(depth, row.name, [getattr(row, name) for name in names], row.total, share(row.total), _module(row))
        for depth, row in _flat(tree.rows)
    ]
    sums = [math.fsum(getattr(leaf, name) for leaf in stage_leaves(tree.rows)) for name in names]
    return [*found, Row(0, view.SUM, sums, tree.total, share(tree.total), "")]


def note(tree: StageTree) -> str:
    whose = "the device's own time" if tree.clock == "device" else "scaled to the phases of a usual step"
    said = (
        f"Medians of {text.plural(tree.steps, 'step')} watched from close by, {whose}. A line includes those below it."
    )
    if tree.levels is not None:
        said += f" Of the nesting, {text.plural(tree.levels, 'level')} could be followed."
    return said


def stages(diagnosis: Diagnosis) -> list[RenderableType]:
    tree = diagnosis.stages
    if tree is None:
        return []
    # The heading has the unit: in the cells it would cost room that the names need.
    unit = text.unit([tree.total])
    cells = [["stage", *columns(tree), "total", "of step", "module"]]
    for row in rows(tree, view.total(diagnosis.phases)):
        times = [unit.number(seconds) for seconds in (*row.times, row.total)]
        cells.append(["  " * row.depth + row.name, *times, text.percent(row.share), row.module])
    right = ">" * (len(columns(tree)) + 2)
    return [
        *heading(f"Stages of the model ({unit.name})"),
        *table(cells, f"<{right}<", header=True),
        prose(note(tree), indent=2, style="dim"),
    ]


def _flat(rows: Iterable[StageRow], depth: int = 0) -> Iterable[tuple[int, StageRow]]:
    for row in rows:
        yield depth, row
        yield from _flat(row.children, depth + 1)


def _module(row: StageRow) -> str:
    return f"{row.count} x {row.module}" if row.count > 1 else row.module
