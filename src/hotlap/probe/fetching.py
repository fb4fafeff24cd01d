"""How long fetching and collating one batch takes, in whichever process it happens.

A loader's workers append what they measured to ``fetches`` in the run directory, seldom, in records of doubles:
batches, seconds, those of them on a core, those ready but without a core, whether fetching drew from the global random
generators.
"""

from __future__ import annotations

import math
import os
import signal
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from hotlap.probe.randomness import RandomState
from hotlap.probe.threads import queued_seconds

_RECORD = struct.Struct("ddddd")
#: The random generators are compared for so many batches: it costs as much as a small batch.
_COMPARED = 3


class Fetches:
    def __init__(self, run_dir: str) -> None:
        self.path = os.path.join(run_dir, "fetches")
        self.in_worker = False
        self.count = 0
        self.seconds = 0.0
        #: Of the thread that fetches, in a worker: seconds on a core while it fetched, and ready but without one.
        self.computed = 0.0
        self.queued = 0.0
        self.queued_before: float | None = None
        self.draws = False
        self.compared = 0
        self.saved_at = 0.0
        self.interval = 0.1
        #: Whether this process was stopped and went on since the last fetch began.
        self.continued = False

    def forked(self) -> None:
        """In a forked child: the counts of the parent are its own."""
        self.__init__(os.path.dirname(self.path))  # type: ignore[misc]

    def notice_stops(self) -> None:
        """A worker may be stopped in the middle of a fetch, while another arm is measured."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGCONT) == signal.SIG_DFL:
            signal.signal(signal.SIGCONT, self._on_continue)

    def _on_continue(self, number: int, frame: Any) -> None:
        self.continued = True

    def watch(self, torch: Any) -> None:
        for kind in torch.utils.data._utils.fetch._BaseDatasetFetcher.__subclasses__():
            self._wrap(torch, kind)

    def _wrap(self, torch: Any, kind: Any) -> None:
        original, clock, work = kind.fetch, time.perf_counter, time.process_time

        def fetch(fetcher: Any, indices: Any) -> Any:
            if self.compared < _COMPARED or self.in_worker:
                return carefully(fetcher, indices)
            start = clock()
            batch = original(fetcher, indices)
            self.seconds += clock() - start
            self.count += 1
            return batch

        def carefully(fetcher: Any, indices: Any) -> Any:
            in_worker = torch.utils.data.get_worker_info() is not None
            if in_worker and not self.in_worker:
                self.in_worker = True
                self.notice_stops()
                self.queued_before = queued_seconds()
            state = RandomState(torch) if self.compared < _COMPARED else None
            self.continued = False
            worked, start = work(), clock()
            batch = original(fetcher, indices)
            now = clock()
            if not self.continued:
                self.seconds += now - start
                self.computed += work() - worked
                self.count += 1
            if state is not None:
                self.compared += 1
                self.draws = self.draws or RandomState(torch) != state
            if self.in_worker and now - self.saved_at > self.interval:
                self._save(now)
            return batch

        kind.fetch = fetch

    def _save(self, now: float) -> None:
        with suppress(OSError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                record = self.count, self.seconds, self.computed, self._queued(), self.draws
                os.write(descriptor, _RECORD.pack(*record))
            finally:
                os.close(descriptor)
        self.count, self.seconds, self.computed = 0, 0.0, 0.0
        self.saved_at = now
        # A long training must not fill the disk with it.
        self.interval = min(2 * self.interval, 30.0)

    def _queued(self) -> float:
        """Seconds without a core since the last record; not a number where the kernel does not say."""
        before, now = self.queued_before, queued_seconds()
        self.queued_before = now
        return now - before if now is not None and before is not None else math.nan

    def collect(self) -> dict[str, Any]:
        """Mean seconds of a fetch, and whether it draws random numbers, over this process and all workers.

        What a fetch computes and waits for a core is known of workers alone.
        """
        count, seconds, draws = float(self.count), self.seconds, self.draws
        in_workers = computed = queued = 0.0
        with suppress(OSError):
            with open(self.path, "rb") as file:
                data = file.read()
            for fetched, spent, on, ready, drew in _RECORD.iter_unpack(
                data[: len(data) // _RECORD.size * _RECORD.size]
            ):
                count, seconds, draws = count + fetched, seconds + spent, draws or bool(drew)
                in_workers, computed, queued = in_workers + fetched, computed + on, queued + ready
        if not count:
            return {}
        found: dict[str, Any] = {"fetch_seconds": seconds / count, "fetch_uses_rng": draws}
        if in_workers and not math.isnan(queued):
            # Between fetches, too, a worker may have waited for a core.
            waited = min(queued, max(0.0, seconds - computed))
            found.update(fetch_cpu_seconds=computed / in_workers, fetch_queue_seconds=waited / in_workers)
        return found
