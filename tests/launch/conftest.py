"""Small trainings that need no torch, and proof that nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from living import gone

from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment

#: Does what the probe does, at the pace of a script without torch: lines, gates and the end.
_PRELUDE = """
import json, os, sys, time
from hotlap.probe.gate import Gate
from hotlap.probe.writer import Writer

settings = json.load(open(os.environ["HOTLAP_PROBE"]))
writer = Writer(os.path.join(settings["run_dir"], "steps.jsonl"))
gate = Gate(settings["run_dir"]) if settings["gated"] else None

def train(steps, seconds=0.001):
    for i in range(steps):
        t = time.perf_counter_ns()
        time.sleep(seconds)
        now = time.perf_counter_ns()
        step = {"i": i, "t": t / 1e9, "wall": (now - t) / 1e9, "phases": {"forward": (now - t) / 1e9}}
        writer.line("step", **step, samples=4, loss=0.5)
        if gate and gate.closed(now / 1e9):
            writer.line("gate", i=i + 1, t=now / 1e9)
            writer.flush()
            word, length, count, _ = gate.wait()
            if word == "go":
                gate.go(time.perf_counter(), length, count)
            gate.free = word == "run"
            if word == "quit":
                os._exit(0)
        writer.flush()

"""

Start = Callable[..., Training]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Marks everything that a test starts; at its end nothing of it may be left, and no descriptor open."""
    value = f"hotlap-test-{uuid.uuid4()}"
    monkeypatch.setenv("HOTLAP_TEST_TOKEN", value)
    descriptors = len(os.listdir("/proc/self/fd"))
    yield value
    assert gone(value), "the test left processes behind"
    assert len(os.listdir("/proc/self/fd")) <= descriptors, "the test left files open"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Write a training script; return its command."""

    def write(body: str, name: str = "train.py") -> list[str]:
        path = tmp_path / Path(name).name
        path.write_text(_PRELUDE + body)
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def start(tmp_path: Path, script: Callable[..., list[str]]) -> Iterator[Start]:
    """Start a training from the text of a script, or from a command."""
    trainings: list[Training] = []

    def begin(
        what: str | list[str], plan: Plan | None = None, limits: Limits | None = None, name: str = "run", **options: Any
    ) -> Training:
        command = script(what, f"{name}.py") if isinstance(what, str) else what
        options.setdefault("known_environment", Environment(hotlap="0", python="3"))
        trainings.append(Training(command, tmp_path / name, plan or Plan(), limits or Limits(silence=60), **options))
        return trainings[-1]

    yield begin
    for training in trainings:
        training.close()


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a file system of so many megabytes."""
    path = tmp_path / "disk"

    def mount(megabytes: int) -> Path:
        path.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip("may not mount a file system")
        return path

    yield mount
    if path.is_mount():
        subprocess.run(["umount", "-l", str(path)], check=True)
