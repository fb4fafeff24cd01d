"""The figures of each step under names that do not change, and handing them to somebody's tracker."""

from __future__ import annotations

import json
import math
import posixpath
import re
from pathlib import Path
from typing import Any

import pytest
from recorded import PHASES, STEP, recorded, steps

import hotlap
from hotlap.errors import RunError, UsageError
from hotlap.export import scalars
from hotlap.launch import read_run

#: What MLflow accepts, which of the trackers asks for most.
MLFLOW = re.compile(r"[/\w.\- ]{1,250}")

LINES: list[dict[str, Any]] = [
    {"k": "resident", "i": 2, "bytes": 5_000, "shared": 1, "device": 70},
    {"k": "metric", "name": "val/psnr", "value": 31.5, "step": 4},
    {"k": "metric", "name": "Güte: «a|b»", "value": 1.0, "step": 4},
    {"k": "metric", "name": "../..", "value": 2.0, "step": 5},
]


class Tracker:
    """Takes what wandb, trackio and their like take, and refuses what MLflow would."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        assert not self.logged or step > self.logged[-1][0]
        for name, value in values.items():
            assert MLFLOW.fullmatch(name)
            assert posixpath.normpath(name) == name
            assert type(value) in (int, float)
        self.logged.append((step, dict(values)))


def test_what_a_step_has(tmp_path: Path) -> None:
    """Seconds, phases that add up, throughput, loss; memory and metrics where they were seen."""
    run, _ = recorded(tmp_path, *LINES)
    found = {point.step: point for point in scalars.points(run)}
    values = found[1].values
    phases = {name: value for name, value in values.items() if "/phase/" in name}
    assert set(phases) == {f"hotlap/phase/{phase}_seconds" for phase in PHASES}
    assert math.fsum(phases.values()) == pytest.approx(values["hotlap/step_seconds"]) == pytest.approx(STEP)
    assert values["hotlap/samples_per_second"] == pytest.approx(8 / STEP)
    assert values["hotlap/loss"] == 0.5
    assert values["hotlap/memory/process_bytes"] == 5000
    assert values["hotlap/memory/device_bytes"] == 70
    assert found[1].t == pytest.approx(1002 + 2 * STEP)
    assert "hotlap/memory/process_bytes" not in found[2].values
    assert found[4].values["hotlap/metric/val.psnr"] == 31.5


def test_a_step_that_was_looked_at_has_no_seconds(tmp_path: Path) -> None:
    """It is no measure of the others; its loss is as good as any, and one that is NaN is kept."""
    run, _ = recorded(tmp_path, steps(3, [1.0, math.nan, None], looked=[1, 2]))
    first, second = list(scalars.points(run))
    assert "hotlap/step_seconds" in first.values
    assert list(second.values) == ["hotlap/loss"]
    assert math.isnan(second.values["hotlap/loss"])


def test_memory_of_the_processes(tmp_path: Path) -> None:
    """Seen from outside at a moment, it belongs to the step of that moment."""
    held = [
        {"pid": 7, "parent": 1, "rss": 9, "pss": 8, "uss": 7},
        {"pid": 8, "parent": 7, "rss": 5, "pss": 4, "uss": 3},
    ]
    _, directory = recorded(tmp_path)
    looks = [{"k": "processes", "t": t, "processes": held} for t in (1000.0, 1002 + 1.5 * STEP)]
    (directory / "memory.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    run = read_run(directory)
    found = {point.step: point.values for point in scalars.points(run)}
    assert found[1]["hotlap/memory/trainers_pss_bytes"] == 8
    assert found[1]["hotlap/memory/workers_pss_bytes"] == 4
    assert sum("hotlap/memory/trainers_pss_bytes" in values for values in found.values()) == 1


@pytest.mark.parametrize("way", ["method", "function", "directory"])
def test_exporting_to_a_tracker(tmp_path: Path, way: str) -> None:
    """Anything with ``log``, any function that takes the same, a run or its directory."""
    run, directory = recorded(tmp_path, *LINES)
    tracker = Tracker()
    count = hotlap.export_to(directory if way == "directory" else run, tracker.log if way == "function" else tracker)
    assert count == len(tracker.logged) == 6
    assert [step for step, _ in tracker.logged] == [*range(6)]
    names = {name for _, values in tracker.logged for name in values}
    assert {name for name in names if "metric" in name} == {
        "hotlap/metric/val.psnr",
        "hotlap/metric/Güte_ _a_b_",
        "hotlap/metric/unnamed",
    }
    assert set(scalars.names(run)) == names


def test_no_name_is_the_folder_of_another(tmp_path: Path) -> None:
    """A tracker may keep each name as a file."""
    names = scalars.names(recorded(tmp_path, *LINES)[0])
    assert not [(a, b) for a in names for b in names if b.startswith(f"{a}/")]


def test_metrics_that_would_have_one_name(tmp_path: Path) -> None:
    """They are numbered, in the order in which they came."""
    assert scalars.metric_names(["a:b", "a?b", "a_b", "a:b"]) == {
        "a:b": "hotlap/metric/a_b",
        "a?b": "hotlap/metric/a_b_2",
        "a_b": "hotlap/metric/a_b_3",
    }


def test_every_name_is_documented(tmp_path: Path) -> None:
    """docs/exports.md has a row for each."""
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    for name in scalars.names(recorded(tmp_path, *LINES)[0]):
        shown = re.sub(r"(?<=/phase/)\w+(?=_seconds)", "PHASE", re.sub(r"(?<=/metric/).*", "NAME", name))
        assert f"`{shown}`" in page


def test_what_is_no_tracker_is_refused(tmp_path: Path) -> None:
    """In a sentence; so is what is no run."""
    with pytest.raises(UsageError, match="int has no log"):
        hotlap.export_to(recorded(tmp_path)[0], 3)
    with pytest.raises(RunError, match="there is no run nothing"):
        hotlap.export_to("nothing", print)
