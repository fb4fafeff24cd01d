"""Nothing that a training starts outlives it, whatever happens to hotlap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from living import gone, processes

from hotlap.launch import Plan, Training, guardian, read_run

_DAEMON = """
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.wait()
daemon()
"""


def test_daemons_end_with_the_training(start: Callable[..., Training], token: str) -> None:
    """A process that has left for a session of its own, twice removed, ends with the training."""
    with start(_DAEMON + "train(2)") as training:
        training.wait()
        assert gone(token)
    assert training.run().info.outcome == "finished"


def test_daemons_end_with_the_context(start: Callable[..., Training], token: str) -> None:
    """The same, when the training is ended from outside while it is frozen."""
    with start(_DAEMON + "train(100000)", Plan(gated=True)) as training:
        training.wait_for_gate()
        training.freeze()
        assert len(processes(token)) == 3
    assert not processes(token)


_HOLDER = """
import signal, sys, time
from pathlib import Path
# What a shell starts in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from hotlap.launch import Plan, Training
from hotlap.records import Environment
known = Environment(hotlap="0", python="3")
trainings = []
for name in ("a", "b"):
    directory = Path(sys.argv[1], name)
    trainings.append(Training(sys.argv[2:], directory, Plan(gated=True), known_environment=known))
    trainings[-1].wait_for_gate()
trainings[0].freeze()
print("ready", flush=True)
while True:
    trainings[1].block(0.0, 1)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_hotlap_killed(tmp_path: Path, script: Callable[[str], list[str]], token: str, number: int) -> None:
    """When hotlap is killed, all its trainings end, the frozen ones too, and their directories can be read."""
    command = [sys.executable, "-c", _HOLDER, str(tmp_path), *script(_DAEMON + "train(100000)")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        assert len(processes(token)) == 1 + 2 * 3
        holder.send_signal(number)
        holder.wait()
        assert gone(token)
    for name in ("a", "b"):
        run = read_run(tmp_path / name)
        assert run.info.outcome == "interrupted"
        assert run.steps


def test_hotlap_interrupted(tmp_path: Path, script: Callable[[str], list[str]], token: str) -> None:
    """Ctrl-C at hotlap ends what it started."""
    command = [sys.executable, "-c", _HOLDER, str(tmp_path), *script("train(100000)")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGINT)
        holder.wait()
        assert gone(token)


def test_descendants_without_lists_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of finding the processes below one agree."""
    with subprocess.Popen(["sh", "-c", "sleep 100 & wait"]) as shell:
        try:
            while len(found := guardian.descendants(shell.pid)) < 1:
                time.sleep(0.01)
            children = guardian._scan()
            assert children(shell.pid) == found
            if os.path.exists(f"/proc/{shell.pid}/task/{shell.pid}/children"):
                assert guardian._children(shell.pid) == found
            assert guardian.proportional([shell.pid]) <= guardian.resident([shell.pid])
            assert guardian.state(shell.pid) in ("S", "R")
        finally:
            for pid in [shell.pid, *guardian.descendants(shell.pid)]:
                os.kill(pid, signal.SIGKILL)
