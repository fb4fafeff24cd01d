"""How the memory of the training process changes over its steps, at next to no cost.

    steps     16  32  48 ...  4096      8192      12288 ...    the more there are, the wider apart
    graphs        |     |           |                          seldom, and sooner where memory grows quickly

Each look is a line of ``steps.jsonl``, so a training that is killed for its memory has left them behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hotlap.probe import graphs
from hotlap.probe.writer import Writer

#: Looks until the distance between them doubles.
_POINTS = 256
#: Where graphs seem to pile up they are counted so often again, each time after twice as many steps.
_COUNTS = 5
_FIRST_COUNT = 12
#: ... and where the process has grown by so many bytes since they were last counted, so many steps ago at least. These
#: counts may take this share of the training's time together, besides the first.
_MUCH = 32 << 20
_APART = 3
_SHARE = 0.0025
_SOONER = 6


class Resident:
    def __init__(self, torch: Any, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.torch = torch
        self.clock = clock
        self.page = os.sysconf("SC_PAGE_SIZE")
        #: The GPU that the model is on; None for torch's current one.
        self.gpu: int | None = None
        self.next = 0
        self.distance = 1
        self.taken = 0
        #: The step before which graphs are counted again, and how often they were.
        self.count_at: int | None = None
        self.counted = 0
        #: Bytes that the process had for itself when it was last looked at, and when graphs were last counted.
        self.used = 0
        self.used_then = 0
        #: The step before which they were last counted, what that took, and what was spent on counts that came sooner.
        self.counted_at: int | None = None
        self.cost = 0
        self.spent = 0
        self.sooner = 0
        self.began: int | None = None

    def now(self) -> tuple[int, int] | None:
        """Bytes resident in this process, and how many of them are shared with files or other processes."""
        try:
            with open("/proc/self/statm") as file:
                fields = file.read().split()
        except OSError:
            return None
        return int(fields[1]) * self.page, int(fields[2]) * self.page

    def look(self, steps: int, writer: Writer) -> bool:
        """``steps`` are over. Return whether it took so long that the next one tells nothing about the usual step."""
        if self.began is None:
            self.began = self.clock()
        if steps >= self.next:
            self.point(steps, writer)
        due = self.count_at is not None and steps >= self.count_at
        sooner = not due and self._grows_quickly(steps)
        if due or sooner:
            self.count(steps, writer, sooner)
        return due or sooner

    def point(self, steps: int, writer: Writer) -> None:
        found = self.now()
        if found is None:
            return
        device = self.torch.cuda.memory_allocated(self.gpu) if self.torch.cuda.is_initialized() else None
        writer.line("resident", i=steps, bytes=found[0], shared=found[1], device=device)
        self.used = found[0] - found[1] + (device or 0)
        self.taken += 1
        if self.taken == _POINTS:
            # As if every other one had not been taken.
            self.taken //= 2
            self.distance *= 2
        self.next = steps + self.distance

    def alive(self, steps: int) -> tuple[int, int] | None:
        """See ``graphs.alive``."""
        began = self.clock()
        found = graphs.alive(self.torch)
        self.cost = self.clock() - began
        self.counted_at = steps if found is not None else None
        self.used_then = self.used
        return found

    def suspect(self, steps: int) -> None:
        """A step has left more graphs behind than were there before it."""
        self.count_at = steps + _FIRST_COUNT

    def count(self, steps: int, writer: Writer, sooner: bool = False) -> None:
        found = self.alive(steps)
        if found is not None:
            writer.line("graphs", i=steps, tensors=found[0], nodes=found[1])
        if sooner:
            self.sooner += 1
            self.spent += self.cost
            return
        self.count_at = None
        self.counted += 1
        if found is not None and self.counted < _COUNTS:
            self.count_at = steps + (_FIRST_COUNT << self.counted)

    def _grows_quickly(self, steps: int) -> bool:
        """Whether the process has grown by so much that graphs should be counted now, and there is time for it."""
        if self.counted_at is None or self.began is None or self.sooner >= _SOONER:
            return False
        if steps - self.counted_at < _APART or self.used - self.used_then < _MUCH:
            return False
        return not self.sooner or self.spent + self.cost <= _SHARE * (self.clock() - self.began)
