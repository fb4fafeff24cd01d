"""What the threads of the process do beside the one that trains: who computes, who waits for a core, who for the lock.

/proc/self/task/TID/schedstat    nanoseconds on a core, nanoseconds ready but without one, turns
threading.enumerate()            which of them run Python, and so share the interpreter's lock
a sleep of 0.1 ms                lets go of the lock: longer than that is the wait to have it back
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

_TASKS = "/proc/self/task"
#: Each look is so much later than the one before, seen from the first: each file that is read lets go of the lock, and
#: where another thread holds it that may take 5 ms. There are 30 looks in a day, and the last is never long ago.
_LATER = 1.5
_APART = 0.2
#: Looking may take this share of the processor's time: each thread takes the kernel some 25 us.
_SHARE = 0.005
#: Steps over which it is averaged at the least.
_FEWEST = 5
#: A thread that computes for so much of the time counts as one that is at work.
_AT_WORK = 0.1
#: The lock is let go of so often at most, once a look, and only beside a Python thread that computes.
_TRIES = 8
_SLEEP = 1e-4
#: Python threads that are named.
_NAMED = 3

_clock = time.perf_counter

#: Seconds on a core, and ready but without one, by the kernel's number of the thread.
Spent = dict[int, tuple[float, float]]


class Threads:
    def __init__(self) -> None:
        self.own = 0
        self.next = 0.0
        #: Clock, steps and what was spent at the first look; what was spent until the last, by those that ended too.
        self.first: tuple[float, int, Spent] | None = None
        self.last: tuple[float, int] = (0.0, 0)
        self.spent: Spent = {}
        #: Those that run Python, by the same number.
        self.names: dict[int, str] = {}
        #: Whether one of them computed between the last two looks, and what it took to have the lock back.
        self.busy = False
        self.waits: list[float] = []

    def begin(self) -> None:
        """Called in the thread that trains."""
        self.own = threading.get_native_id()

    def try_lock(self) -> None:
        """Before anything else lets go of the lock: the other thread may have made enough of what it makes then."""
        if self.busy and len(self.waits) < _TRIES and _clock() >= self.next:
            self.waits.append(_lock_wait())

    def look(self, steps: int) -> None:
        begun, work = _clock(), time.thread_time()
        if begun < self.next:
            return
        now = _spent()
        if not now:
            return
        before, since = self.spent, begun - self.last[0]
        # Those that Python has not started, such as autograd's for a GPU, have a dummy: most of what they run is C++.
        for thread in threading.enumerate():
            if thread.native_id not in (None, self.own) and not isinstance(thread, threading._DummyThread):
                self.names[thread.native_id or 0] = thread.name
        self.spent = {**before, **now}
        if self.first is None:
            self.first = begun, steps, dict(now)
        else:
            ran = (now[tid][0] - before.get(tid, (0.0, 0.0))[0] for tid in self.names if tid in now)
            self.busy = max(ran, default=0.0) > _AT_WORK * since
        self.last = begun, steps
        lately = (_LATER - 1) * (begun - self.first[0])
        self.next = begun + max(_APART, lately, (time.thread_time() - work) / _SHARE)

    def collect(self) -> dict[str, Any] | None:
        """Means of a step; see ``hotlap.records.ThreadUse``."""
        if self.first is None or self.last[1] - self.first[1] < _FEWEST:
            return None
        began, begun, before = self.first
        steps, wall = self.last[1] - begun, self.last[0] - began
        used = {
            tid: (on - before.get(tid, (0.0, 0.0))[0], ready - before.get(tid, (0.0, 0.0))[1])
            for tid, (on, ready) in self.spent.items()
        }
        running, ready = used.get(self.own, (0.0, 0.0))
        python = sorted(((*used[tid], name) for tid, name in self.names.items() if tid in used), reverse=True)
        return {
            "wall": wall / steps,
            "running": running / steps,
            "ready": ready / steps,
            "wanting": sum(map(sum, used.values())) / wall,
            "at_work": sum(on > _AT_WORK * wall for on, _ in used.values()),
            "python": [
                {"name": name, "running": on / steps, "ready": off / steps} for on, off, name in python[:_NAMED]
            ],
            "lock_wait": max(self.waits, default=None),
        }


def _spent() -> Spent:
    """Of every thread of the process; empty where the kernel does not say."""
    found: Spent = {}
    try:
        tids = os.listdir(_TASKS)
    except OSError:
        return found
    for tid in tids:
        try:
            with open(f"{_TASKS}/{tid}/schedstat", "rb") as file:
                on, ready = file.read().split()[:2]
        except (OSError, ValueError):  # it has just ended
            continue
        found[int(tid)] = int(on) * 1e-9, int(ready) * 1e-9
    return found


def _lock_wait() -> float:
    """Seconds until a thread that let go of the interpreter's lock, for long enough to lose it, has it back.

    What it waits for a core is not the lock's.
    """
    file = schedstat()
    queued, begun = queued_seconds(file) or 0.0, _clock()
    time.sleep(_SLEEP)
    waited = _clock() - begun - _SLEEP
    return max(0.0, waited - ((queued_seconds(file) or 0.0) - queued))


def schedstat() -> str:
    """Where the kernel counts for this thread."""
    return f"{_TASKS}/{threading.get_native_id()}/schedstat"


def queued_seconds(file: str | None = None) -> float | None:
    """Seconds in which a thread, by default this one, was ready without a core; None where the kernel does not say."""
    try:
        with open(file or schedstat(), "rb") as opened:
            return int(opened.read().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return None
