"""What takes the training thread's time besides its own work: garbage collections, and waiting for a core."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import time
from typing import Any, NamedTuple

from hotlap.probe.threads import Threads, queued_seconds, schedstat

#: Seconds between two looks at what the kernel counts, which take some microseconds each.
_APART = 0.2
#: Steps over which it is averaged at the least.
_FEWEST = 5

_PROBE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Except for what the training was told to do.
_LEVERS = os.path.join(_PROBE, "levers", "")

_ident = threading.get_ident
_clock = time.perf_counter


class _Used(NamedTuple):
    """Totals since the training began, all but ``cpu_seconds`` of the training thread."""

    gc_seconds: float
    gc_collections: float
    gc_full: float
    cpu_seconds: float
    thread_seconds: float
    #: Ready to run, but without a core. None where the kernel does not say.
    queue_seconds: float | None
    voluntary_switches: float | None
    involuntary_switches: float | None
    #: Of the whole machine: processor seconds in which cores had nothing to do.
    idle_seconds: float | None
    clock: float


class Host:
    def __init__(self) -> None:
        self.thread: int | None = None
        self.file = ""
        self.began = 0.0
        self.gc_seconds = 0.0
        self.gc_collections = 0
        self.gc_full = 0
        self.looked = 0.0
        #: When it was looked at first and last, and the steps done by then.
        self.first: tuple[_Used, int] | None = None
        self.last: tuple[_Used, int] | None = None
        self.threads = Threads()

    def begin(self) -> None:
        """Called in the thread that trains."""
        self.thread = _ident()
        self.file = schedstat()
        self.threads.begin()
        gc.callbacks.append(self._collecting)

    def stop(self) -> None:
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if _ident() != self.thread:
            return
        if phase == "start":
            # What the probe allocates does not count as the script's.
            caller = sys._getframe().f_back
            file = caller.f_code.co_filename if caller is not None else ""
            own = file.startswith(_PROBE) and not file.startswith(_LEVERS)
            self.began = 0.0 if own else _clock()
        elif self.began:
            self.gc_seconds += _clock() - self.began
            self.gc_collections += 1
            self.gc_full += info["generation"] == 2
            self.began = 0.0

    def use(self, steps: int) -> None:
        """Look at what was used after so many steps, unless that was a moment ago. In the training thread."""
        now = _clock()
        if now - self.looked < _APART:
            return
        self.looked = now
        self.last = self._used(), steps
        self.first = self.first or self.last
        self.threads.look(steps)

    def pause(self) -> None:
        """The training is held from now on; what the machine does meanwhile is none of its steps'."""
        self.held = self._used()

    def resume(self) -> None:
        if self.first is None:
            return
        (used, steps), now = self.first, self._used()
        moved: list[Any] = [
            None if old is None or before is None or after is None else old + (after - before)
            for old, before, after in zip(used, self.held, now, strict=True)
        ]
        self.first = _Used(*moved), steps

    def _used(self) -> _Used:
        process = resource.getrusage(resource.RUSAGE_SELF)
        # Only Linux counts for a thread.
        which = getattr(resource, "RUSAGE_THREAD", None)
        thread = resource.getrusage(which) if which is not None else None
        return _Used(
            gc_seconds=self.gc_seconds,
            gc_collections=self.gc_collections,
            gc_full=self.gc_full,
            cpu_seconds=process.ru_utime + process.ru_stime,
            thread_seconds=time.thread_time(),
            queue_seconds=queued_seconds(self.file),
            voluntary_switches=thread.ru_nvcsw if thread is not None else None,
            involuntary_switches=thread.ru_nivcsw if thread is not None else None,
            idle_seconds=_idle_seconds(),
            clock=time.perf_counter(),
        )

    def collect(self) -> dict[str, Any]:
        """Means of a step."""
        if self.first is None or self.last is None:
            return {}
        (before, begun), (after, done) = self.first, self.last
        if done - begun < _FEWEST:
            return {}
        found: dict[str, Any] = {}
        for name, old, new in zip(_Used._fields, before, after, strict=True):
            found[name] = None if old is None or new is None else (new - old) / (done - begun)
        idle, wall = found.pop("idle_seconds"), found.pop("clock")
        return {
            **found,
            "counted_seconds": wall,
            "idle_cores": idle / wall if idle is not None and wall > 0 else None,
            "thread_use": self.threads.collect(),
        }


def _idle_seconds() -> float | None:
    """The fourth and the fifth figure of the machine's line: ticks in which its cores idled, or waited for a disk."""
    try:
        with open("/proc/stat", "rb") as opened:
            fields = opened.readline().split()
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
