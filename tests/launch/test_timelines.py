"""A step as it went, from the lines of the record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hotlap.launch.rundir import read_run
from hotlap.launch.timelines import timeline_of, typical
from hotlap.records import Environment, RunInfo, Step, write_record

PLAN = {
    "k": "plan",
    "id": 0,
    "phases": ["data_wait", "forward", "backward", "other"],
    "slots": [0, 1, 1, 2, 3],
    "micro_batches": 1,
}


def a_line(first: int, *walls: int) -> dict[str, Any]:
    """Steps of so many milliseconds: a tenth wait, half forward in two pieces, the rest backward but the last tenth."""
    times = [5_000_000]
    for wall in walls:
        start = times[-1]
        times += [start + wall * 1_000_000 * tenth // 10 for tenth in (1, 4, 6, 9, 10)]
    return {
        "k": "steps",
        "i": first,
        "plan": 0,
        "times": times,
        "samples": [8] * len(walls),
        "losses": [0.5] * len(walls),
    }


def steps(*walls: float, **fields: Any) -> list[Step]:
    return [Step(i=i, t=0.0, wall=wall, phases={}, **fields) for i, wall in enumerate(walls)]


def test_the_typical_step_is_the_middle_one_of_the_second_half() -> None:
    """Warm-up does not count, and neither do steps that were looked at or held."""
    assert typical(steps(9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 2.0, 9.0)) == 5
    assert typical(steps(1.0, 1.0, looked=True)) is None
    assert typical(steps(1.0, 1.0, paused=0.5)) is None
    assert typical([]) is None


def test_a_step_is_taken_apart_as_it_went() -> None:
    """Spans follow each other without a hole, those of the same phase joined, in seconds from the step's beginning."""
    found = timeline_of([PLAN, a_line(7, 10, 20), a_line(9, 30)], 8)
    assert found is not None
    assert (found.step, found.seconds) == (8, 0.02)
    shown = [(span.phase, round(span.start, 9), round(span.seconds, 9)) for span in found.spans]
    assert shown == [
        ("data_wait", 0.0, 0.002),
        ("forward", 0.002, 0.010),
        ("backward", 0.012, 0.006),
        ("other", 0.018, 0.002),
    ]
    assert math.isclose(sum(span.seconds for span in found.spans), found.seconds)


@pytest.mark.parametrize("wanted", [None, 3, 99])
def test_a_step_that_is_not_there_has_no_timeline(wanted: int | None) -> None:
    """A record that lost its beginning, or its end, knows nothing of the step."""
    assert timeline_of([PLAN, a_line(7, 10)], wanted) is None
    assert timeline_of([a_line(3, 10)], wanted) is None


def test_a_run_knows_one_of_its_steps(tmp_path: Path) -> None:
    """A run that is read back from its directory has the timeline of its typical step."""
    info = RunInfo(
        name="run",
        command=["true"],
        cwd="/",
        environment=Environment(hotlap="0", python="3"),
        started=0.0,
        ended=1.0,
        date="2026-11-21T09:30:00Z",
        outcome="finished",
    )
    write_record(tmp_path / "run.json", info)
    lines = [PLAN, a_line(0, 50, 40), a_line(2, 12, 10, 11)]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(tmp_path)
    assert run.timeline is not None
    assert (run.timeline.step, run.timeline.seconds) == (4, 0.011)
