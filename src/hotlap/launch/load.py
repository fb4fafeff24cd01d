"""What the kernel says of the machine between two moments: who held its cores, and who waited for one.

/proc/stat               ticks of each core: at work, and (steal) lent by the hypervisor to somebody else
/proc/pressure/cpu       microseconds in which at least one task was ready without a core
/proc/PID/stat           ticks of a process on a core, and of its children that have ended
/proc/PID/task/*/schedstat, of a training and all that it started: ready without a core

All of it may be missing (another system, an older kernel, a container): then it is None, and never 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

T = TypeVar("T")

_PROC = Path("/proc")
#: Figures of a line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
_IDLE, _WAITING_FOR_DISK, _STEAL = 3, 4, 7
#: Of /proc/PID/stat behind the name: user and system, of the process and of its children that were waited for.
_OWN = slice(11, 15)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds since the machine or the process began; differences are what they are for."""

    clock: float
    #: Cores that this process may be put on; what goes on elsewhere is not its concern.
    cores: int = 1
    #: Core-seconds at work on them, whoever did it, and those that the hypervisor gave to others.
    busy: float | None = None
    steal: float | None = None
    #: Seconds in which some task waited for a core.
    pressure: float | None = None
    #: Core-seconds of a training and its children, and the seconds that their threads waited for a core, added up.
    own: float | None = None
    queued: float | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What went on between two moments, as means: cores, or threads, or shares of the time."""

    #: Cores that other processes and the hypervisor's other guests held.
    others: float | None = None
    #: The hypervisor's part of that.
    steal: float | None = None
    #: Threads of the training that were ready to run and had no core.
    queued: float | None = None
    #: Share of the time in which anything on the machine waited for a core.
    pressure: float | None = None


def load_now(pid: int | None = None) -> Load:
    """Look at the machine, and at the process ``pid`` with its descendants where one is given."""
    cores, busy, steal = _cores()
    own, queued = _tree(pid) if pid is not None else (None, None)
    return Load(
        clock=time.perf_counter(), cores=cores, busy=busy, steal=steal, pressure=cpu_pressure(), own=own, queued=queued
    )


def between(before: Load, after: Load, usable: int | None = None) -> Held:
    """What went on; None for what one of the two does not know, or where no time has passed.

    Of more cores than the training may use at once (``usable``: a quota), others may hold the rest without harm.
    """
    seconds = after.clock - before.clock
    if seconds <= 0:
        return Held()

    def rate(old: float | None, new: float | None) -> float | None:
        # A child that ended in between takes its seconds in the queue with it.
        return None if old is None or new is None else max(0.0, (new - old) / seconds)

    busy, own, steal = (
        rate(before.busy, after.busy),
        rate(before.own, after.own),
        rate(before.steal, after.steal),
    )
    others = None
    if busy is not None and own is not None:
        spare = max(0, after.cores - usable) if usable is not None else 0
        others = max(0.0, busy - own + (steal or 0.0) - spare)
    queued, pressure = rate(before.queued, after.queued), rate(before.pressure, after.pressure)
    return Held(others=others, steal=steal, queued=queued, pressure=pressure)


def during(pid: int, usable: int, run: Callable[[], T]) -> tuple[T, Held]:
    """Let a training of this process number run, and return what came of it with what went on meanwhile."""
    before = load_now(pid)
    done = run()
    return done, between(before, load_now(pid), usable)


def cpu_pressure() -> float | None:
    """Seconds since the start of the machine in which some task waited for a core."""
    try:
        words = (_PROC / "pressure" / "cpu").read_text().split("\n")[0].split()
        return int(words[-1].removeprefix("total=")) * 1e-6
    except (OSError, ValueError, IndexError):
        return None


def _cores() -> tuple[int, float | None, float | None]:
    """How many cores there are for this process, and their core-seconds at work and lent to other guests."""
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    names = {f"cpu{core}" for core in mine}
    busy = steal = 0.0
    known = False
    try:
        second = os.sysconf("SC_CLK_TCK")
        for line in (_PROC / "stat").read_text().splitlines():
            name, *words = line.split()
            if name in names:
                ticks = [int(word) for word in words[:8]]
                busy += (sum(ticks) - ticks[_IDLE] - ticks[_WAITING_FOR_DISK] - ticks[_STEAL]) / second
                steal += ticks[_STEAL] / second
                known = True
    except (OSError, ValueError, IndexError):
        known = False
    return len(mine), busy if known else None, steal if known else None


def _tree(pid: int) -> tuple[float | None, float | None]:
    """Core-seconds and seconds on the run queue of a process and its descendants."""
    try:
        pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return None, None
    own: list[float] = []
    queued: list[float] = []
    second = os.sysconf("SC_CLK_TCK")
    for each in pids:
        with suppress(OSError, ValueError):  # it has just ended
            # Workers that end with an epoch, and threads, are in those of who started them.
            ticks = (_PROC / str(each) / "stat").read_text().rpartition(")")[2].split()[_OWN]
            own.append(sum(map(int, ticks)) / second)
        for file in (_PROC / str(each) / "task").glob("*/schedstat"):
            with suppress(OSError, ValueError):
                queued.append(int(file.read_text().split()[1]) * 1e-9)
    return sum(own) if own else None, sum(queued) if queued else None
