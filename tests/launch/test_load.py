"""What the kernel says between two moments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotlap.launch import load
from hotlap.launch.load import Held, Load, between, load_now

_SPIN = "import time\nend = time.monotonic() + 30\nprint('on', flush=True)\nwhile time.monotonic() < end: pass"


def test_a_process_that_computes_is_another_load_for_all_but_itself() -> None:
    """A child that spins until it has used some core time: its own by its number, other load by anyone else's."""
    with subprocess.Popen([sys.executable, "-c", _SPIN], stdout=subprocess.PIPE) as spinning:
        try:
            assert spinning.stdout is not None
            spinning.stdout.readline()
            before, as_ours = load_now(os.getpid()), load_now(spinning.pid)
            after = after_ours = as_ours
            while (after_ours.own or 0.0) < (as_ours.own or 0.0) + 0.3:
                after, after_ours = load_now(os.getpid()), load_now(spinning.pid)
            # It is a descendant of ours, so it is no other load for us either.
            assert (after.own or 0.0) - (before.own or 0.0) > 0.2
            # For a process that does nothing it is.
            idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            try:
                began = load_now(idle.pid)
                spent = after_ours.own or 0.0
                while (load_now(spinning.pid).own or 0.0) < spent + 0.3:
                    pass
                held = between(began, load_now(idle.pid))
            finally:
                idle.communicate(b"\n")
            assert held.others is not None
            assert held.others > 0.1
        finally:
            spinning.kill()


@pytest.mark.parametrize(
    ("usable", "others"),
    [(None, 3.0), (4, 3.0), (2, 1.0), (1, 0.0)],
)
def test_cores_beyond_the_quota_may_be_held_by_others(usable: int | None, others: float) -> None:
    """Of four cores, of which the training computes on one and others on three, one lent by the hypervisor."""
    before = Load(clock=0.0, cores=4, busy=10.0, steal=1.0, own=5.0)
    after = Load(clock=2.0, cores=4, busy=16.0, steal=3.0, own=7.0)
    assert between(before, after, usable).others == pytest.approx(others)
    assert between(before, after, usable).steal == pytest.approx(1.0)


def test_what_cannot_be_read_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On another system there is no /proc: nothing is 0."""
    monkeypatch.setattr(load, "_PROC", tmp_path)
    before = load_now(os.getpid())
    assert (before.busy, before.steal, before.pressure, before.own) == (None, None, None, None)
    assert between(before, load_now(os.getpid())) == Held()
    assert between(before, before) == Held()


def test_a_process_that_is_gone_has_used_nothing_that_is_known() -> None:
    """Its number may be asked for at any time."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert load_now(ended.pid).own is None


_IN_TURN = """
import os, time
print("on", flush=True)
while True:
    if not os.fork():
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
"""


def test_workers_that_end_with_an_epoch_are_no_other_load() -> None:
    """What they computed is the training's, although it is theirs no longer when one looks again."""
    with subprocess.Popen([sys.executable, "-c", _IN_TURN], stdout=subprocess.PIPE) as training:
        try:
            assert training.stdout is not None
            training.stdout.readline()
            before = after = load_now(training.pid)
            while (after.own or 0.0) < (before.own or 0.0) + 0.5 and after.clock < before.clock + 30:
                time.sleep(0.02)
                after = load_now(training.pid)
            assert before.own is not None
            assert after.own is not None
            assert after.own - before.own >= 0.5
        finally:
            training.kill()
