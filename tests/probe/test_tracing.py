"""A closer look at a few steps changes nothing, and counts what a step computes."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from recordings import Recorded

from hotlap import api
from hotlap.diagnose import diagnose
from hotlap.launch import Plan
from hotlap.launch.rundir import add_peak, read_run
from hotlap.probe.looking import FIRST
from hotlap.probe.tracing import STEPS, union
from hotlap.records import PHASES
from hotlap.report.traces import sentences

SCRIPT = str(Path(__file__).parent / "scripts" / "traced.py")


def _said(output: str, word: str) -> str:
    found = re.search(rf"^{word} (.*)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def test_a_trace_and_the_operations_of_a_step(record: Callable[..., Recorded]) -> None:
    """Forward of both layers, their weights' gradients, and the gradient of the second one's input; same losses."""
    recorded = record("traced", plan=Plan(trace=True))
    trace = recorded.run.trace
    assert trace is not None
    assert trace.flops == 2 * 32 * (2 * 8 * 16 + 3 * 16 * 4)
    assert trace.work is not None
    assert trace.work.flops == trace.flops
    phases = {call.phase for call in trace.work.calls}
    assert {"data_wait", "forward", "backward", "optimizer"} <= phases <= {*PHASES}
    assert "aten::addmm" in {operator.name for operator in trace.operators}
    assert {operator.calls for operator in trace.operators if operator.name == "aten::addmm"} == {2.0}
    with gzip.open(recorded.directory / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert {"ph", "ts", "name"} <= next(event.keys() for event in events if event.get("name") == "aten::addmm")
    looked = [step.i for step in recorded.run.steps if step.looked]
    # The step after the trace holds what writing it took, and the next one is counted.
    assert looked[: STEPS + 1] == list(range(FIRST, FIRST + STEPS + 1))
    assert looked[STEPS + 1] - looked[STEPS] <= 2
    alone = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True).stdout
    assert _said(recorded.output, "LOSSES") == _said(alone, "LOSSES")
    known = add_peak(recorded.directory, recorded.run, 1e9, "float32")
    assert read_run(recorded.directory).trace == known.trace
    assert known.trace is not None
    (operations, file_) = sentences(known.trace, diagnose(known))
    assert "of the 1.00 GFLOP/s" in operations
    assert "perfetto" in file_


def test_nothing_is_compiled_again(tmp_path: Path) -> None:
    """Graphs and losses are the same with the trace and without; a compiled model is traced, and not counted."""
    outputs = []
    for trace in (True, False):
        run = api.profile([sys.executable, SCRIPT, "compile"], trace=trace, run_dir=tmp_path)
        outputs.append((tmp_path / run.info.name / "output.log").read_text())
        assert (run.trace is not None) == trace
        if run.trace is not None:
            assert run.trace.flops is None
            assert run.trace.uncounted == "the model is compiled"
            assert run.trace.operators
    assert _said(outputs[0], "LOSSES") == _said(outputs[1], "LOSSES")
    assert _said(outputs[0], "GRAPHS") == _said(outputs[1], "GRAPHS")


def test_the_union_of_intervals() -> None:
    """Overlaps count once."""
    assert union([]) == 0
    assert union([(5, 9), (1, 3), (2, 4), (6, 7)]) == 7
