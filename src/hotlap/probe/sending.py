"""What a loader's worker does to send a batch, in a thread beside its next fetch.

    fetch ── batch ──> queue ──> thread: pickled ──> pipe ──> the training
                                    └─ tensors: moved to shared memory where they are not there yet

The time in the pipe is not counted: the worker waits there for a training that is busy. ``arrivals`` times the other
end.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

#: Batches that may be on their way to the thread.
_WAITING = 64


class Sent(NamedTuple):
    batches: int = 0
    seconds: float = 0.0
    #: Of the shared memory, and of what is pickled.
    bytes: int = 0


class Sending:
    """Installed in a worker, before its first batch is sent."""

    def __init__(self, torch: Any) -> None:
        #: By id: what else goes through queues here is none of the loader's.
        self.waiting: deque[int] = deque(maxlen=_WAITING)
        #: Since the worker began: a tuple, which only the thread that sends replaces.
        self.sent = Sent()
        self.taken = Sent()
        #: Bytes of shared memory of the batch that is pickled now; None where none is.
        self.shared: int | None = None
        #: Whether this process was stopped and went on since the pickling began.
        self.stopped = False
        self._count_tensors(torch)
        self._time_pickling()

    def take(self) -> Sent:
        """What was sent since the last call."""
        now, before = self.sent, self.taken
        self.taken = now
        return Sent(now.batches - before.batches, now.seconds - before.seconds, now.bytes - before.bytes)

    def _count_tensors(self, torch: Any) -> None:
        """Of a view only what it shows: the storage behind it may be the whole data set, sent once."""
        reduce = ForkingPickler._extra_reducers[torch.Tensor]  # type: ignore[attr-defined]

        def counted(it: Any) -> Any:
            if self.shared is not None:
                self.shared += it.numel() * it.element_size()
            return reduce(it)

        ForkingPickler.register(torch.Tensor, counted)

    def _time_pickling(self) -> None:
        original = ForkingPickler.__dict__["dumps"].__func__
        clock, waiting = time.perf_counter, self.waiting

        @functools.wraps(original)
        def dumps(cls: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
            if type(message) is not tuple or len(message) != 2 or id(message[1]) not in waiting:
                return original(cls, message, *args, **kwargs)
            self.shared, self.stopped, start = 0, False, clock()
            try:
                pickled = original(cls, message, *args, **kwargs)
                batches, seconds, size = self.sent
                if not self.stopped:
                    self.sent = Sent(batches + 1, seconds + clock() - start, size + self.shared + len(pickled))
            finally:
                self.shared = None
            return pickled

        ForkingPickler.dumps = classmethod(dumps)  # type: ignore[assignment]
