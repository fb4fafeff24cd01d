"""The trace of the phases: what viewers ask of it, and that it says what was recorded."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import MARKS, MS, STARTED, STEP, recorded, steps

from hotlap.errors import RunError
from hotlap.export import export, perfetto
from hotlap.read import kind, traces
from hotlap.records import Run

Event = dict[str, Any]


def trace(run: Run, directory: Path) -> dict[str, Any]:
    file = io.BytesIO()
    perfetto.write(run, directory, file)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found: dict[str, Any] = json.loads(file.getvalue(), parse_constant=refuse)
    valid(found["traceEvents"])
    return found


def valid(events: list[Event]) -> None:
    """What a viewer takes for granted: known kinds, times in order, slices of a track that nest."""
    assert {event["ph"] for event in events} <= {"M", "X", "C", "i"}
    timed = [event for event in events if event["ph"] != "M"]
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    named = [(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"]
    assert len({tid for _, tid in named}) == len(named)
    open_slices: dict[tuple[int, int], list[int]] = defaultdict(list)
    for event in timed:
        assert event["pid"] > 0
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(math.isfinite(value) for value in event["args"].values())
        if event["ph"] != "X":
            continue
        track = event["pid"], event["tid"]
        assert track in named
        begin, end = round(event["ts"] * 1000), round(event["ts"] * 1000) + round(event["dur"] * 1000)
        around = open_slices[track]
        while around and around[-1] <= begin:
            around.pop()
        assert begin <= end
        assert not around or end <= around[-1], f"{event} ends after what it is a part of"
        around.append(end)


def slices(found: dict[str, Any], name: str, pid: int = 1) -> list[Event]:
    return [e for e in found["traceEvents"] if e["ph"] == "X" and e["name"] == name and e["pid"] == pid]


def test_every_mark_of_every_step_is_there(tmp_path: Path) -> None:
    """The parts of a step fill it, at their own moments; what happens inside of backward lies in it."""
    found = trace(*recorded(tmp_path))
    assert len(slices(found, "step 3")) == 1
    step = slices(found, "step 1")[0]
    assert step["ts"] == pytest.approx((1002.0 - STARTED + STEP) * 1e6)
    assert step["dur"] == pytest.approx(STEP * 1e6)
    assert step["args"] == {"samples": 8, "loss": 0.5, "micro_batches": 2}
    inside = [
        e for e in found["traceEvents"] if e.get("cat") == "phase" and step["ts"] <= e["ts"] < step["ts"] + step["dur"]
    ]
    assert [(e["name"], e["dur"] / 1000) for e in inside] == [
        ("data_wait", 4),
        ("forward", 3),
        ("loss", 1),
        ("backward", 5),
        ("recompute", 1),
        ("forward", 3),
        ("loss", 1),
        ("backward", 3),
        ("gradient_sync", 1),
        ("optimizer", 2),
        ("other", 1),
    ]
    outer = [e["dur"] for e in inside if e["name"] not in ("recompute", "gradient_sync")]
    assert sum(outer) == pytest.approx(step["dur"])


def test_what_is_around_the_steps(tmp_path: Path) -> None:
    """The process from its start to its end, compilations, and starts of loaders."""
    run, directory = recorded(
        tmp_path,
        {"k": "compile", "n": 0, "t": 1002.0, "seconds": 0.004, "what": "forward (model.py:12)"},
        {"k": "loader_start", "n": 0, "t": 1001.9, "seconds": 0.05, "loader": "data 1", "workers": 2, "fresh": True},
    )
    found = trace(run, directory)
    spans = {e["name"]: (e["ts"] / 1e6, e["dur"] / 1e6) for e in found["traceEvents"] if e.get("cat") == "process"}
    assert spans["starting"] == (0, 1.5)
    assert spans["building"] == (1.5, 0.5)
    assert spans["ending"] == pytest.approx((2 + 6 * STEP, 8 - 6 * STEP))
    assert slices(found, "forward (model.py:12)")[0]["cat"] == "compilations"
    assert slices(found, "data 1")[0]["args"] == {"workers": 2, "fresh": True}


def test_counters(tmp_path: Path) -> None:
    """Loss, throughput, memory and metrics, at the moments when they were known."""
    run, directory = recorded(
        tmp_path,
        {"k": "resident", "i": 2, "bytes": 5_000, "shared": 1, "device": 70},
        {"k": "metric", "name": "psnr", "value": 31.5, "step": 4},
    )
    found = trace(run, directory)
    counters = defaultdict(list)
    for event in found["traceEvents"]:
        if event["ph"] == "C":
            ((unit, value),) = event["args"].items()
            counters[event["name"]].append((round(event["ts"] / 1000), unit, value))
    step = round(STEP * 1000)
    assert counters["loss"][1] == (2000 + 2 * step, "value", 0.5)
    assert counters["throughput"][0] == (2000, "samples/s", pytest.approx(8 / STEP))
    assert counters["resident memory"] == [(2000 + 2 * step, "bytes", 5000)]
    assert counters["device memory"] == [(2000 + 2 * step, "bytes", 70)]
    assert counters["psnr"] == [(2000 + 5 * step, "value", 31.5)]


def test_a_loss_that_is_no_number_is_a_moment(tmp_path: Path) -> None:
    """JSON has no NaN: the first step at which the loss is none is marked, and again after it was one."""
    losses = [1.0, math.nan, math.nan, 2.0, math.inf, 1.0]
    found = trace(*recorded(tmp_path, steps(6, losses)))
    assert [e["name"] for e in found["traceEvents"] if e["ph"] == "i"] == ["the loss is nan", "the loss is inf"]
    assert "loss" not in slices(found, "step 1")[0]["args"]


def test_each_rank_is_a_process(tmp_path: Path) -> None:
    """Their clocks are one, so what waits for whom can be seen."""
    found = trace(*recorded(tmp_path, ranks=2))
    names = {e["pid"]: e["args"]["name"] for e in found["traceEvents"] if e["name"] == "process_name"}
    assert names == {1: "rank 0", 2: "rank 1"}
    assert slices(found, "step 2", pid=2)[0]["ts"] - slices(found, "step 2")[0]["ts"] == pytest.approx(1000)


def test_a_watched_step_says_so(tmp_path: Path) -> None:
    """A step that was looked at is marked, and has no throughput."""
    found = trace(*recorded(tmp_path, steps(6, looked=[2])))
    assert "close by" in slices(found, "step 2")[0]["args"]["looked"]
    assert sum(e["name"] == "throughput" for e in found["traceEvents"]) == 5


def test_a_record_that_was_cut_off(tmp_path: Path) -> None:
    """The whole lines are exported; a record of something else is refused."""
    run, directory = recorded(tmp_path)
    with (directory / "steps.jsonl").open("a") as file:
        file.write('{"k": "steps", "i": 6, "pla')
    assert slices(trace(run, directory), "step 5")
    (directory / "steps.jsonl").write_text('{"k": "plan", "id": 0}\n{"k": "steps", "plan": 0, "i": 1}\n')
    with pytest.raises(RunError, match="no probe"):
        trace(run, directory)


def test_secrets_are_masked(tmp_path: Path) -> None:
    """In the command and in the changes, as in the report."""
    run, directory = recorded(tmp_path, changes={"wandb.api_key": "hunter2"})
    described = trace(run, directory)["otherData"]
    assert described["command"] == "python train.py --api-key *** --lr 0.1"
    assert "hunter2" not in json.dumps(described)


def test_it_is_written_bit_by_bit(tmp_path: Path) -> None:
    """A long run is never held as text."""
    written: list[int] = []

    class Sink:
        def write(self, data: bytes) -> None:
            written.append(len(data))

    run, directory = recorded(tmp_path, count=600)
    count = perfetto.write(run, directory, Sink())
    assert count > 600 * len(MARKS)
    assert len(written) > 10
    assert max(written) < 70_000


def test_hotlap_read_refuses_it_in_plain_words(tmp_path: Path) -> None:
    """It is no trace of torch.profiler, although it looks like one."""
    run, directory = recorded(tmp_path)
    done = export(run, directory, "perfetto", tmp_path / "phases.json.gz")
    assert json.loads(gzip.decompress(done.path.read_bytes()))["traceEvents"]
    assert kind(done.path) == "trace"
    with pytest.raises(RunError, match=r"`hotlap export` wrote .* `hotlap report`"):
        traces.read([done.path])


def test_packed_files_are_the_same_each_time(tmp_path: Path) -> None:
    """No time of writing and no name in them, so that they can be compared."""
    run, directory = recorded(tmp_path)
    first = export(run, directory, "perfetto", tmp_path / "one.json.gz").path.read_bytes()
    assert export(run, directory, "perfetto", tmp_path / "two.json.gz").path.read_bytes() == first


span = st.tuples(st.just("x"), st.integers(0, 50), st.integers(0, 50), st.just({}))


@given(st.lists(span.map(lambda each: (each[0], min(each[1:3]), max(each[1:3]), each[3])), max_size=12))
def test_slices_that_overlap_are_cut(spans: list[tuple[str, int, int, dict[str, Any]]]) -> None:
    """Whatever the record says, slices of a track nest, none is lost, and a cut one says by how much."""
    kept = perfetto._nested(spans)
    assert len(kept) == len(spans)
    events = [{"name": "thread_name", "ph": "M", "pid": 1, "tid": 13}]
    for name, begin, end, arguments in kept:
        events.append(perfetto._slice(name, "compilations", 0, 3, begin * MS, end * MS, arguments))
    valid(sorted(events, key=lambda event: event.get("ts", 0)))
