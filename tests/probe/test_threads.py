"""Threads beside the one that trains: who computes, who wants a core, and whether the lock comes back at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from recordings import Recorded

from hotlap.diagnose import diagnose
from hotlap.probe import threads
from hotlap.probe.threads import Threads
from hotlap.records import ThreadUse

pytestmark = pytest.mark.skipif(not threads._spent(), reason="this kernel does not count for threads")


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[None]:
    """Run this again and again in a thread called ``beside``."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            work()

    thread = threading.Thread(target=run, name="beside")
    thread.start()
    yield
    ended.set()
    thread.join()


def looked(seconds: float = 0.3) -> ThreadUse:
    watching = Threads()
    watching.begin()
    for steps in range(0, 40, 10):
        watching.next = 0.0
        watching.try_lock()
        watching.look(steps)
        until = time.perf_counter() + seconds / 4
        while time.perf_counter() < until:
            pass
    return msgspec.convert(watching.collect(), ThreadUse)


def test_a_thread_that_computes_in_python_keeps_the_lock() -> None:
    with beside(lambda: sum(range(10000))):
        use = looked()
    assert use.python[0].name == "beside"
    assert use.python[0].running > 0.1 * use.wall
    assert use.lock_wait is not None
    assert use.lock_wait > 2.5e-3


def test_a_thread_that_sleeps_is_not_tried() -> None:
    with beside(lambda: time.sleep(0.01)):
        use = looked()
    assert use.lock_wait is None
    assert sum(each.running for each in use.python if each.name == "beside") < 0.1 * use.wall


def test_a_thread_that_computes_without_the_lock_gives_it_back() -> None:
    import zlib

    data = bytes(20_000_000)
    with beside(lambda: zlib.crc32(data)):
        use = looked()
    assert use.lock_wait is None or use.lock_wait < 2.5e-3


def test_where_the_kernel_does_not_say_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_TASKS", "/proc/self/nothing")
    watching = Threads()
    watching.begin()
    watching.look(10)
    watching.look(20)
    assert watching.collect() is None


def test_looks_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 0.0, []
    monkeypatch.setattr(threads, "_clock", lambda: now)
    monkeypatch.setattr(threads, "_spent", lambda: looks.append(now) or {1: (now, 0.0)})
    watching = Threads()
    while now < 3600:
        watching.look(round(10 * now))
        now += 0.1
    assert len(looks) < 30
    assert len([at for at in looks if at < 2]) >= 4
    assert looks[-1] > 2400


@pytest.mark.noisy
@pytest.mark.parametrize("kind", ["python", "sleeps", "torch"])
def test_a_thread_beside_a_training(record: Callable[..., Recorded], kind: str) -> None:
    """The lock is named when a thread parses in Python, and not for one that sleeps or that computes in torch."""
    run = record("threads_beside", kind).run
    codes = {finding.code for finding in diagnose(run).findings}
    assert ("HOST08" in codes) == (kind == "python"), run.facts.thread_use
    assert run.facts.thread_use is not None
    assert run.facts.thread_use.wanting > 0.5
