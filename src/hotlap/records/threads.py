"""What the threads of the process that trains did."""

from __future__ import annotations

import msgspec


class PythonThread(msgspec.Struct, frozen=True, kw_only=True):
    """A Python thread that does not train: seconds of a step (mean) on a core, and ready but without one."""

    name: str
    running: float
    ready: float


class ThreadUse(msgspec.Struct, frozen=True, kw_only=True):
    """Between two looks at the threads, seldom. Seconds are means of a step."""

    #: How long a step took meanwhile, and for how long of it the training thread was on a core, or ready but without.
    wall: float
    running: float
    ready: float
    #: Threads that were on a core or ready to be, on average, and those that computed for over a tenth of the time.
    wanting: float
    at_work: int
    #: The busiest ones, besides the one that trains.
    python: list[PythonThread] = []
    #: How long the training thread waited to have the interpreter's lock back once it had let go of it, the longest
    #: of some tries; None where no other Python thread was busy enough.
    lock_wait: float | None = None
