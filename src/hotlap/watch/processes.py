"""The processes of a training, from outside: what they take of processors, memory and disks.

    training ─┬─ loader worker        the same command as its parent, or the name that torch gives it
              ├─ loader worker
              └─ rank, helper, ...

Counting shared pages once makes the kernel walk through all of them (``smaps_rollup``), which takes long for a large
process. So that is done as often as it may cost, and the last figure stands until then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hotlap.launch.guardian import descendants
from hotlap.launch.watching import HELPERS, memory_of
from hotlap.watch.proc import Stat, said, stat, variable
from hotlap.watch.sample import Processes, Worker
from hotlap.workers import cgroups

#: Shares of the time that may be taken to look for new processes, to count memory, and to see whether CUDA is loaded.
_SHARE_OF_TREE, _SHARE_OF_MEMORY, _SHARE_OF_CUDA = 0.002, 0.003, 0.001
#: What torch calls a loader's worker.
_WORKER = b"pt_data_worker"
#: Torch loads it with the first use of a GPU.
_CUDA = b"libcuda.so"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Seldom:
    """When to do again what takes long: after so much time that it was but this share of it."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._next = float("-inf")

    def due(self, now: float) -> bool:
        return now >= self._next

    @contextlib.contextmanager
    def measured(self, now: float) -> Iterator[None]:
        began = time.thread_time()
        try:
            yield
        finally:
            self._next = now + (time.thread_time() - began) / self._share


class _Memory(NamedTuple):
    pss: int
    #: None where this kernel does not tell.
    held: int | None
    uss: int
    swap: int


class Tree:
    """A process and all below it. ``look`` returns None when the process is gone."""

    def __init__(self, root: int, now: float) -> None:
        self.root = root
        self.pids: list[int] = [root]
        found = stat(root)
        self._began = found.began if found is not None else None
        self._tree, self._counting = Seldom(_SHARE_OF_TREE), Seldom(_SHARE_OF_MEMORY)
        self._at = now
        self._seconds: dict[int, float] = {}
        self._main: tuple[int, float] | None = None
        self._disk: dict[int, tuple[int, int]] = {}
        self._kind: dict[int, bool] = {}
        self._memory: _Memory | None = None
        self._mapped = Seldom(_SHARE_OF_CUDA)
        #: Of each process that has loaded CUDA, which cards it may see: its CUDA_VISIBLE_DEVICES, None without.
        self.visible: set[str | None] = set()

    def look(self, now: float, trainers: Sequence[int] = ()) -> Processes | None:
        """``trainers``: the processes that train, where the record of a run says which they are."""
        root = stat(self.root)
        if root is None or root.began != self._began:
            return None
        if self._tree.due(now):
            with self._tree.measured(now):
                self.pids = [self.root, *descendants(self.root)]
        stats = {pid: found for pid in self.pids if (found := stat(pid)) is not None}
        if self._counting.due(now):
            with self._counting.measured(now):
                self._memory = _memory(stats)
        if self._mapped.due(now):
            with self._mapped.measured(now):
                self.visible = {_visible(pid) for pid in stats if _CUDA in said(pid, "maps")}
        memory = self._memory
        passed, self._at = now - self._at, now
        cpu = self._cores(stats, passed)
        workers = [pid for pid in stats if pid not in trainers and self._is_worker(pid, stats[pid].parent)]
        used, limit = group_memory(self.root)
        read, written = self._rates(stats, passed)
        return Processes(
            count=len(stats),
            cpu=sum(cpu.values()) if cpu else None,
            main_thread=self._main_thread([pid for pid in trainers if pid in stats], workers, cpu, passed),
            pss=None if memory is None else memory.pss,
            held=None if memory is None else memory.held,
            uss=None if memory is None else memory.uss,
            swap=None if memory is None else memory.swap,
            group_used=used,
            group_limit=limit,
            disk_read=read,
            disk_write=written,
            workers=[Worker(pid=pid, cpu=cpu.get(pid)) for pid in workers],
            cuda=bool(self.visible),
        )

    def _cores(self, stats: dict[int, Stat], passed: float) -> dict[int, float]:
        """Cores that each process kept busy; one that is new counts from the next look on."""
        before, self._seconds = self._seconds, {pid: each.seconds for pid, each in stats.items()}
        if passed <= 0:
            return {}
        return {pid: max(0.0, now - before[pid]) / passed for pid, now in self._seconds.items() if pid in before}

    def _main_thread(
        self, trainers: list[int], workers: list[int], cpu: dict[int, float], passed: float
    ) -> float | None:
        """Of the first process that trains; where nobody says which that is, of the busiest but for the workers."""
        others = {pid: cores for pid, cores in cpu.items() if pid not in workers}
        pid = trainers[0] if trainers else max(others, key=lambda pid: others[pid], default=None)
        thread = None if pid is None else stat(pid, f"task/{pid}/stat")
        before, self._main = self._main, None if pid is None or thread is None else (pid, thread.seconds)
        if before is None or self._main is None or before[0] != pid or passed <= 0:
            return None
        return max(0.0, self._main[1] - before[1]) / passed

    def _is_worker(self, pid: int, parent: int) -> bool:
        if pid not in self._kind:
            own = said(pid, "cmdline")
            if said(pid, "comm").startswith(_WORKER):
                self._kind[pid] = True
            elif any(word in own for word in HELPERS):
                self._kind[pid] = False
            elif pid == self.root or not own or own != said(parent, "cmdline"):
                return False  # it may be on its way to another command, or to its name
            else:
                self._kind[pid] = True
        return self._kind[pid]

    def _rates(self, stats: dict[int, Stat], passed: float) -> tuple[float | None, float | None]:
        """Bytes a second, read and written, of the processes that were there at the last look; None if one may not be
        looked at."""
        before, self._disk = self._disk, {}
        for pid in stats:
            try:
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                found = {name: int(figure) for name, figure in (line.split(":") for line in lines)}
                self._disk[pid] = found["read_bytes"], found["write_bytes"]
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError):
                return None, None
        both = before.keys() & self._disk.keys()
        if not both or passed <= 0:
            return None, None
        read, written = (sum(max(0, self._disk[pid][i] - before[pid][i]) for pid in both) / passed for i in (0, 1))
        return read, written


def _visible(pid: int) -> str | None:
    words = variable(pid, _VISIBLE)
    return None if words is None else words.decode(errors="replace")


def group_memory(pid: int) -> tuple[int | None, int | None]:
    """Bytes that the process's control group uses and may use: of it and those around it, where the least is left."""
    found = []
    for group in cgroups(pid):
        with contextlib.suppress(OSError, ValueError, KeyError):
            limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
            kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Files that nobody reads just now are given back when memory is wanted.
            found.append((max(0, used - int(kept["inactive_file"])), limit))
    return min(found, key=lambda each: each[1] - each[0]) if found else (None, None)


def _memory(pids: Collection[int]) -> _Memory | None:
    """Of all of them together; None where one may not be looked at: a part would pass for the whole."""
    seen = []
    for pid in pids:
        found = memory_of(pid)
        if found is not None:
            seen.append(found)
        elif _holds(pid):
            return None
    if not seen:
        return None
    held = sum(each["held"] for each in seen) if all("held" in each for each in seen) else None
    pss, uss, swap = (sum(each[name] for each in seen) for name in ("pss", "uss", "swap"))
    return _Memory(pss, held, uss, swap)


def _holds(pid: int) -> bool:
    """Whether it has memory: one that has ended and waits for its parent has none."""
    words = said(pid, "statm").split()
    return len(words) > 1 and int(words[1]) > 0
