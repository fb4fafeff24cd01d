"""What the process has used of the kernel: page faults, what one of them takes here, and processor time in it."""

from __future__ import annotations

import itertools
import mmap
import resource
import time
from contextlib import suppress

#: Steps over which a mean is taken at the least.
_FEWEST = 5
#: Bytes that are fetched to see what a page fault takes, and how often: together a few milliseconds, once.
_BLOCK, _TIMES = 2 << 20, 3
_PAGE = 4096
#: Only Linux counts for a thread.
_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class Usage:
    """Sums over stretches of steps, without those in which worker processes were started or the probe looked closely.

    After a fork the process and its children own no page alone, and every page that it writes to is copied.
    """

    def __init__(self) -> None:
        self.last: tuple[resource.struct_rusage, int, int] | None = None
        self.forked = False
        self.steps = 0
        self.minor_faults = 0
        self.major_faults = 0
        self.system_seconds = 0.0
        #: Of each stretch: page faults of the training thread in a step, and its steps.
        self.stretches: list[tuple[float, int]] = []
        self.fault_seconds: float | None = None

    def begin(self) -> None:
        """In the thread that trains, in its first step."""
        with suppress(OSError, ValueError):
            self.fault_seconds = fault_seconds()

    def look(self, steps: int) -> None:
        """``steps`` are over. In the thread that trains."""
        now, own = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(_THREAD).ru_minflt
        if self.last is not None and not self.forked:
            before, owned, begun = self.last
            self.steps += steps - begun
            self.minor_faults += now.ru_minflt - before.ru_minflt
            self.major_faults += now.ru_majflt - before.ru_majflt
            self.system_seconds += now.ru_stime - before.ru_stime
            if steps > begun:
                self.stretches.append(((own - owned) / (steps - begun), steps - begun))
        self.last, self.forked = (now, own, steps), False

    def leave_out(self, steps: int) -> None:
        """``steps`` are over, and what was used since the last look is none of the training's."""
        if self.last is not None:
            own = resource.getrusage(_THREAD).ru_minflt
            self.last = resource.getrusage(resource.RUSAGE_SELF), own, steps

    def collect(self) -> dict[str, float | None]:
        """Means of a step, and what is steady."""
        if self.steps < _FEWEST:
            return {}
        return {
            "page_faults": self.minor_faults / self.steps,
            "steady_faults": self._steady(),
            "page_fault_seconds": self.fault_seconds,
            "major_faults": self.major_faults / self.steps,
            "system_seconds": self.system_seconds / self.steps,
        }

    def _steady(self) -> float:
        """The page faults that three quarters of the steps have at the least: what is seldom is not steady."""
        left = self.steps / 4
        for faults, steps in sorted(self.stretches):
            left -= steps
            if left <= 0:
                return faults
        return 0.0


def fault_seconds() -> float | None:
    """Processor seconds that a page fault takes with clearing the page and handing it back, beyond writing to it.

    The least of some tries: whatever interrupts one makes it longer. None where writing to new memory makes no fault.
    Nothing large is allocated for it, since the C library learns its thresholds from what is freed.
    """
    found = []
    for _ in range(_TIMES):
        block = mmap.mmap(-1, _BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        faults = resource.getrusage(_THREAD).ru_minflt
        times = [time.thread_time()]
        for _ in range(2):
            for offset in range(0, _BLOCK, _PAGE):
                block[offset] = 1
            times.append(time.thread_time())
        faults = resource.getrusage(_THREAD).ru_minflt - faults
        block.close()
        times.append(time.thread_time())
        if faults > 0:
            fetched, written, given_back = (end - start for start, end in itertools.pairwise(times))
            found.append(max(0.0, fetched - written + given_back) / faults)
    return min(found, default=None)
