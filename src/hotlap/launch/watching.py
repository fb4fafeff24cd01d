"""Looks at the memory of a training's processes from outside: ``memory.jsonl``, a line a look.

seconds    1  2  3 ... 100  101.01 ...    a look a second at first, then rarer: each waits for 1 % of the time so far,
                                          and longer where the kernel takes long to count (``smaps_rollup`` of a
                                          large process walks all its pages)
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotlap.launch.guardian import descendants

_FIRST = 1.0
_RARER = 0.01
#: Looking may take this share of the time.
_SHARE = 0.001
#: Helpers of torch and multiprocessing, which load no samples, by what their command line says.
HELPERS = (b"compile_worker", b"resource_tracker", b"semaphore_tracker", b"forkserver")

_FIELDS = {"Rss:": "rss", "Pss:": "pss", "Private_Clean:": "uss", "Private_Dirty:": "uss", "Swap:": "swap"}
#: Kernels since 5.4 tell these apart.
_HELD = ("Pss_Anon:", "Pss_Shmem:")


class MemoryWatch:
    """Made when the training begins. ``work`` is a clock of the processor time that looking takes."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.perf_counter, work: Callable[[], float] = time.thread_time
    ) -> None:
        self.path = path
        self.clock = clock
        self.work = work
        self.began = clock()
        self.next = self.began + _FIRST

    def look(self, root: int) -> None:
        """Write down what the processes from ``root`` on hold, if it is time to. A full disk ends nothing."""
        begun = self.clock()
        if begun < self.next:
            return
        worked = self.work()
        seen = [found for pid in (root, *descendants(root)) if (found := memory_of(pid)) is not None]
        if seen:
            with contextlib.suppress(OSError), open(self.path, "a") as file:
                file.write(json.dumps({"k": "processes", "t": begun, "processes": seen}) + "\n")
        now = self.clock()
        self.next = now + max(_FIRST, _RARER * (now - self.began), (self.work() - worked) / _SHARE)


def memory_of(pid: int) -> dict[str, Any] | None:
    """What a process holds; None where it is gone or may not be looked at."""
    found: dict[str, Any] = {"pid": pid, "rss": 0, "pss": 0, "uss": 0, "swap": 0}
    try:
        with open(f"/proc/{pid}/stat") as file:
            found["parent"] = int(file.read().rpartition(")")[2].split()[1])
        with open(f"/proc/{pid}/cmdline", "rb") as raw:
            command = raw.read()
        found["helper"] = any(word in command for word in HELPERS)
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                label, figure = line.split()[:2]
                if label in _FIELDS:
                    found[_FIELDS[label]] += int(figure) * 1024
                elif label in _HELD:
                    found["held"] = found.get("held", 0) + int(figure) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return found if found["rss"] else None
