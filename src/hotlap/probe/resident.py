"""How the memory of the training process changes over its steps, at next to no cost.

    steps     16  32  48 ...  4096      8192      12288 ...    the more there are, the wider apart

Each look is a line of ``steps.jsonl``, so a training that is killed for its memory has left them behind.
"""

from __future__ import annotations

import os
from typing import Any

from hotlap.probe import graphs
from hotlap.probe.writer import Writer

#: Looks until the distance between them doubles.
_POINTS = 256
#: Where graphs seem to pile up they are counted so often again, each time after twice as many steps.
_COUNTS = 5
_FIRST_COUNT = 12


class Resident:
    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.page = os.sysconf("SC_PAGE_SIZE")
        #: The GPU that the model is on; None for torch's current one.
        self.gpu: int | None = None
        self.next = 0
        self.distance = 1
        self.taken = 0
        #: The step before which graphs are counted again, and how often they were.
        self.count_at: int | None = None
        self.counted = 0

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
        counts = self.count_at is not None and steps >= self.count_at
        if counts:
            self.count(steps, writer)
        if steps >= self.next:
            self.point(steps, writer)
        return counts

    def point(self, steps: int, writer: Writer) -> None:
        found = self.now()
        if found is None:
            return
        device = self.torch.cuda.memory_allocated(self.gpu) if self.torch.cuda.is_initialized() else None
        writer.line("resident", i=steps, bytes=found[0], shared=found[1], device=device)
        self.taken += 1
        if self.taken == _POINTS:
            # As if every other one had not been taken.
            self.taken //= 2
            self.distance *= 2
        self.next = steps + self.distance

    def suspect(self, steps: int) -> None:
        """A step has left more graphs behind than were there before it."""
        self.count_at = steps + _FIRST_COUNT

    def count(self, steps: int, writer: Writer) -> None:
        self.count_at = None
        found = graphs.alive(self.torch)
        if found is None:
            return
        writer.line("graphs", i=steps, tensors=found[0], nodes=found[1])
        self.counted += 1
        if self.counted < _COUNTS:
            self.count_at = steps + (_FIRST_COUNT << self.counted)
