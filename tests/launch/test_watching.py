"""The memory of processes, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from hotlap.launch import watching
from hotlap.launch.remembering import memory_of, spaced
from hotlap.launch.watching import MemoryWatch
from hotlap.records import ResidentPoint

HOLD = "x = bytearray(b'1') * 50_000_000; print(flush=True); input()"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_process_and_its_children_hold_is_written_down(tmp_path: Path) -> None:
    """A child that holds 50 MB has them resident and private."""
    clock = Clock()
    watch = MemoryWatch(tmp_path / "memory.jsonl", clock)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        clock.now = 2.0
        watch.look(os.getpid())
        watch.look(os.getpid())  # too soon
        child.communicate(b"\n")
    (line,) = map(json.loads, (tmp_path / "memory.jsonl").read_text().splitlines())
    own, below = (next(each for each in line["processes"] if each["pid"] == pid) for pid in (os.getpid(), child.pid))
    assert line["t"] == 2.0
    assert below["parent"] == own["pid"]
    assert 50e6 < below["uss"] <= below["pss"] <= below["rss"] < 100e6
    assert watching.memory_of(child.pid) is None  # gone


def test_looks_become_rarer_and_wait_longer_where_they_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cost, looks = Clock(), 0.0, []

    def look(pid: int) -> None:
        looks.append(clock.now)
        clock.now += cost

    monkeypatch.setattr(watching, "memory_of", look)
    monkeypatch.setattr(watching, "descendants", lambda root: [])

    def watch_for(seconds: float) -> int:
        clock.now = 0.0
        looks.clear()
        watch = MemoryWatch(tmp_path / "memory.jsonl", clock, clock)
        while clock.now < seconds:
            watch.look(1)
            clock.now += 0.5
        return len(looks)

    assert 95 <= watch_for(100) <= 100
    assert watch_for(100_000) < 1000
    cost = 0.05
    assert watch_for(1000) <= 20


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    clock = Clock()
    watch = MemoryWatch(tmp_path / "nowhere" / "memory.jsonl", clock)
    clock.now = 2.0
    watch.look(os.getpid())


def test_roles_follow_from_who_trains() -> None:
    """Below the process that trains are its workers, but not what torch keeps to compile."""
    sizes = {"rss": 3, "pss": 2, "uss": 1, "swap": 0}
    pids = [(1, 0, False), (2, 1, False), (3, 2, False), (4, 3, False), (5, 2, True)]
    seen = {
        "k": "processes",
        "t": 1.0,
        "processes": [{"pid": pid, "parent": parent, "helper": helper, **sizes} for pid, parent, helper in pids],
    }
    memory = memory_of([{"k": "start", "pid": 2}], [seen])
    roles = [process.role for process in memory.samples[0].processes]
    assert roles == ["other", "trainer", "worker", "worker", "other"]


def test_points_are_thinned_evenly() -> None:
    points = [ResidentPoint(i=i, bytes=1, shared=0) for i in [*range(1000), *range(1000, 100_000, 100)]]
    kept = [point.i for point in spaced(points)]
    assert len(kept) <= 257
    assert kept[0] == 0
    assert kept[-1] > 99_000
    assert max(b - a for a, b in pairwise(kept)) < 1000
