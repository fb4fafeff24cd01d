"""The stages in the terminal."""

from __future__ import annotations

import io

import made_up
from rich.console import Console, Group

from hotlap.records import StageRow, StageTree
from hotlap.report import terminal
from hotlap.report.stages import stages

ROWS = [
    StageRow(
        name="Net",
        module="Net",
        forward=0.006,
        backward=0.012,
        children=[
            StageRow(name="blocks.0-7", module="Block", count=8, forward=0.005, backward=0.011),
            StageRow(name="rest of Net", module="", forward=0.001, backward=0.001),
        ],
    )
]


def printed(rows: list[StageRow], width: int = 100) -> str:
    tree = StageTree(rows=rows, total=sum(row.total for row in rows), explained=0.9, steps=3)
    diagnosis = made_up.diagnosis(phases={"forward": 0.01, "backward": 0.02, "other": 0.006}, stages=tree)
    out = io.StringIO()
    Console(file=out, width=width).print(Group(*stages(diagnosis)))
    return out.getvalue()


def test_names_are_indented_and_only_leaves_add_up() -> None:
    lines = [line.split() for line in printed(ROWS).splitlines() if line.strip()]
    assert lines[0] == ["Stages", "of", "the", "model", "(ms)"]
    assert lines[1] == ["stage", "forward", "backward", "total", "of", "step", "module"]
    assert lines[2] == ["Net", "6.00", "12.00", "18.00", "50.0", "%", "Net"]
    assert lines[3] == ["blocks.0-7", "5.00", "11.00", "16.00", "44.4", "%", "8", "x", "Block"]
    assert lines[4] == ["rest", "of", "Net", "1.00", "1.00", "2.00", "5.6", "%"]
    assert lines[5] == ["sum", "of", "the", "leaves", "6.00", "12.00", "18.00", "50.0", "%"]


def test_recompute_has_a_column_where_there_is_some() -> None:
    assert "recompute" not in printed(ROWS)
    assert "recompute" in printed([StageRow(name="Net", module="Net", forward=0.01, recompute=0.01)])


def test_without_watched_steps_there_is_no_section() -> None:
    assert stages(made_up.diagnosis()) == []
    out = io.StringIO()
    Console(file=out, width=100).print(terminal.profile(made_up.run(), made_up.diagnosis()))
    assert "Stages" not in out.getvalue()
