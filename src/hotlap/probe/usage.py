"""What the process has used of the kernel: page faults, and processor time in it."""

from __future__ import annotations

import resource

#: Steps over which a mean is taken at the least.
_FEWEST = 5


class Usage:
    """Sums over stretches of steps, without those in which worker processes were started.

    After a fork the process and its children own no page alone, and every page that it writes to is copied.
    """

    def __init__(self) -> None:
        self.last: tuple[resource.struct_rusage, int] | None = None
        self.forked = False
        self.steps = 0
        self.minor_faults = 0
        self.major_faults = 0
        self.system_seconds = 0.0

    def look(self, steps: int) -> None:
        """``steps`` are over."""
        now = resource.getrusage(resource.RUSAGE_SELF)
        if self.last is not None and not self.forked:
            before, begun = self.last
            self.steps += steps - begun
            self.minor_faults += now.ru_minflt - before.ru_minflt
            self.major_faults += now.ru_majflt - before.ru_majflt
            self.system_seconds += now.ru_stime - before.ru_stime
        self.last, self.forked = (now, steps), False

    def collect(self) -> dict[str, float]:
        """Means of a step."""
        if self.steps < _FEWEST:
            return {}
        return {
            "page_faults": self.minor_faults / self.steps,
            "major_faults": self.major_faults / self.steps,
            "system_seconds": self.system_seconds / self.steps,
        }
