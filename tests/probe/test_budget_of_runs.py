"""The budget of real processes: it agrees with a stopwatch around the process, and with those inside the script."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from recordings import SCRIPTS, Recorded, Told, told

from hotlap.diagnose import budget, diagnose
from hotlap.launch import Plan, Training
from hotlap.records import Environment

#: The part of the budget that the script of that kind times itself.
PARTS = {
    "plain": None,
    "validation": "validation",
    "checkpoint": "checkpoint",
    "workers": "loader_start",
    "compiled": None,
    "exit": None,
    "late": "building",
    "end": "end",
}


@pytest.mark.parametrize("kind", PARTS)
def test_the_budget_agrees_with_a_stopwatch_around_the_process(kind: str, tmp_path: Path, machine: Environment) -> None:
    command = [sys.executable, str(SCRIPTS / "budget.py"), kind]
    begin = time.perf_counter()
    with Training(command, tmp_path / "run", Plan(), known_environment=machine) as training:
        training.wait()
    stopwatch = time.perf_counter() - begin
    run = training.run()
    assert run.info.outcome == "finished", training.tail()
    whole = budget(run)
    parts = {name: seconds for name, seconds in msgspec.structs.asdict(whole).items() if name != "wall"}
    assert whole.wall == pytest.approx(stopwatch, rel=0.02)
    assert math.fsum(parts.values()) == pytest.approx(whole.wall, rel=1e-9)
    assert min(parts.values()) >= -1e-6
    assert parts["unexplained"] < 0.02 * whole.wall
    assert whole.startup > 0
    said = told(training.tail())
    assert said is not None
    # What the script measures holds the ordinary part of a first batch, and its own calls.
    part = PARTS[kind]
    if part is not None:
        least = 0.9
        assert least * said.more["part"] <= parts[part]
        assert parts[part] <= (1.1 * said.more["part"] + 0.05 if part in ("validation", "checkpoint") else whole.wall)
    if kind == "compiled":
        assert parts["compiling"] > 0.8 * sum(each.seconds for each in run.compilations) > 0
        assert parts["compiling"] + parts["warmup"] + parts["steps"] == pytest.approx(said.seconds, rel=0.2)
    else:
        assert parts["compiling"] == 0
    if kind == "workers":
        assert [each.fresh for each in run.loader_starts] == [True, True]
        assert [each.step for each in run.loader_starts] == [0, 16]


def test_recompilations_are_seen_with_step_place_and_reason(
    record: Callable[..., Recorded], without_probe: Callable[..., Told]
) -> None:
    """... without a graph, a break or another loss more than there would be without the probe."""
    found = record("recompiles", "2,5,20,25")
    alone = without_probe("recompiles 2,5,20,25")
    assert found.told is not None
    assert [step["loss"] for step in found.told.steps] == [step["loss"] for step in alone.steps]
    assert found.told.more == alone.more
    compilations = [each for each in found.run.compilations if not each.backward]
    assert [each.step for each in compilations] == [0, 2, 5, 20, 25]
    assert {each.what for each in compilations} == {"Model.forward (recompiles.py:16)"}
    assert compilations[0].reason is None
    assert all("flag" in (each.reason or "") for each in compilations[1:])
    for each in found.run.compilations:
        assert each.step is not None
        assert each.seconds <= found.run.steps[each.step].wall
    codes = {finding.code: finding for finding in diagnose(found.run).findings}
    assert next(iter(codes)) == "COMPILE01"
    assert any("len(" in sentence for sentence in codes["COMPILE01"].evidence)


def test_compilations_of_the_start_are_no_complaint(record: Callable[..., Recorded]) -> None:
    found = record("recompiles", "2,5")
    diagnosis = diagnose(found.run)
    assert [each.step for each in diagnosis.compilations if not each.backward] == [0, 2, 5]
    assert "COMPILE01" not in {finding.code for finding in diagnosis.findings}
    compiled = diagnosis.budget.compiling
    assert compiled == pytest.approx(sum(each.seconds for each in found.run.compilations), rel=0.01)
    longest = max(each.seconds for each in found.run.compilations)
    assert diagnosis.step_seconds < longest / 5
