"""How long fetching one batch takes, in whichever process it happens, and where the time goes.

    fetch ┬ samples   dataset[i] for each      ┬ on a core
          └ collate   collate_fn(samples)      ├ ready, without a core
                                               └ else it waits: for storage, a network, another process

A loader's workers append what they measured to ``fetches`` in the run directory, seldom, in records of doubles:
batches, seconds, those of them on a core, those ready but without a core, whether fetching drew from the global random
generators, seconds of collating; then what was sent (``sending``): batches, seconds, bytes; then what was decoded
(``pictures``): seconds, pictures, those of them that had been decoded before, bytes of the others.

Where the training fetches itself, only some fetches are looked at so closely.
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

from hotlap.probe.pictures import PICTURES
from hotlap.probe.randomness import RandomState
from hotlap.probe.sending import Sending, Sent
from hotlap.probe.threads import queued_seconds

_RECORD = struct.Struct("14d")
#: The random generators are compared for so many batches: it costs as much as a small batch.
_COMPARED = 3
#: Seconds between two fetches of the training that are looked at closely: each look takes some 30 us of the kernel.
_APART = 0.05


class Fetches:
    def __init__(self, run_dir: str) -> None:
        self.path = os.path.join(run_dir, "fetches")
        self.in_worker = False
        self.count = 0
        self.seconds = 0.0
        #: Seconds of the last call of ``collate_fn``, and of all of them; not a number where it is not timed.
        self.collated = math.nan
        self.collating = 0.0
        #: Of the fetches that were looked at closely, in a worker all of them: how many, their seconds, those on a core
        #: and those ready but without one.
        self.looked = 0
        self.looked_seconds = 0.0
        self.computed = 0.0
        self.queued = 0.0
        self.decoding = 0.0
        self.queued_before: float | None = None
        self.look_at = 0.0
        #: Whether a fetch draws random numbers, and whether it does so before its samples are put together.
        self.draws = False
        self.samples_draw = False
        self.state: RandomState | None = None
        self.compared = 0
        self.sending: Sending | None = None
        self.saved_at = 0.0
        self.interval = 0.1
        #: Whether this process was stopped and went on since the last fetch began.
        self.continued = False

    def forked(self) -> None:
        """In a forked child: the counts of the parent are its own."""
        self.__init__(os.path.dirname(self.path))  # type: ignore[misc]
        PICTURES.forget_counts()

    def notice_stops(self) -> None:
        """A worker may be stopped in the middle of a fetch, while another arm is measured."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGCONT) == signal.SIG_DFL:
            signal.signal(signal.SIGCONT, self._on_continue)

    def _on_continue(self, number: int, frame: Any) -> None:
        self.continued = True
        if self.sending is not None:
            self.sending.stopped = True

    def watch(self, torch: Any) -> None:
        PICTURES.watch()
        base = torch.utils.data._utils.fetch._BaseDatasetFetcher
        kinds = base.__subclasses__()
        # Levers that fetch in another way look at ``collate_fn``.
        if not any(hasattr(kind.fetch, "__wrapped__") for kind in kinds):
            self._time_collating(torch, base)
        for kind in kinds:
            self._wrap(torch, kind)

    def _time_collating(self, torch: Any, base: Any) -> None:
        construct, clock = base.__init__, time.perf_counter

        def __init__(fetcher: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            construct(fetcher, *args, **kwargs)
            collate = fetcher.collate_fn

            def timed(samples: Any) -> Any:
                if self.state is not None:
                    self.samples_draw = self.samples_draw or RandomState(torch) != self.state
                    self.state = None
                start = clock()
                batch = collate(samples)
                self.collated = clock() - start
                return batch

            # Levers that fetch in another way ask for the script's own.
            timed.hotlap_times = collate  # type: ignore[attr-defined]
            fetcher.collate_fn = timed

        base.__init__ = __init__

    def _wrap(self, torch: Any, kind: Any) -> None:
        original, clock, work = kind.fetch, time.perf_counter, time.process_time

        def fetch(fetcher: Any, indices: Any) -> Any:
            start = clock()
            if start >= self.look_at:
                return closely(fetcher, indices)
            batch = original(fetcher, indices)
            self.seconds += clock() - start
            self.collating += self.collated
            self.count += 1
            return batch

        def closely(fetcher: Any, indices: Any) -> Any:
            in_worker = torch.utils.data.get_worker_info() is not None
            if in_worker and not self.in_worker:
                self._begin_in_worker(torch)
            state = self.state = RandomState(torch) if self.compared < _COMPARED else None
            queued = None if in_worker else queued_seconds()
            self.continued = False
            PICTURES.spent = 0.0
            worked, start = work(), clock()
            batch = original(fetcher, indices)
            now = clock()
            if not self.continued:
                self.seconds += now - start
                self.collating += self.collated
                self.count += 1
                self._looked(now - start, work() - worked, queued)
            if state is not None:
                self.compared += 1
                self.draws = self.draws or RandomState(torch) != state
                if self.state is not None:  # no collating was seen
                    self.samples_draw, self.state = self.samples_draw or self.draws, None
            if self.sending is not None:
                self.sending.waiting.append(id(batch))
            if in_worker and now - self.saved_at > self.interval:
                self._save(now)
            if not in_worker and self.compared >= _COMPARED:
                self.look_at = now + _APART
            return batch

        kind.fetch = fetch

    def _begin_in_worker(self, torch: Any) -> None:
        self.in_worker = True
        self.notice_stops()
        self.queued_before = queued_seconds()
        with suppress(Exception):  # another Python or torch may send in another way
            self.sending = Sending(torch)

    def _looked(self, seconds: float, computed: float, queued: float | None) -> None:
        """Add a fetch. ``queued``: where the training fetches, what its thread had waited for a core before it."""
        if not self.in_worker:
            if self.compared < _COMPARED:  # with what is loaded and found at the first time
                return
            now = queued_seconds()
            self.queued += now - queued if now is not None and queued is not None else math.nan
        self.looked += 1
        self.looked_seconds += seconds
        self.computed += computed
        self.decoding += PICTURES.spent

    def _save(self, now: float) -> None:
        sent = self.sending.take() if self.sending is not None else Sent()
        with suppress(OSError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                drew = self.draws, self.samples_draw
                decoded = self.decoding, PICTURES.count, PICTURES.again, PICTURES.bytes
                record = self.count, self.seconds, self.computed, self._queued(), *drew, self.collating, *sent, *decoded
                os.write(descriptor, _RECORD.pack(*record))
            finally:
                os.close(descriptor)
        self.count, self.seconds, self.computed, self.collating, self.decoding = 0, 0.0, 0.0, 0.0, 0.0
        PICTURES.forget_counts()
        self.saved_at = now
        # A long training must not fill the disk with it.
        self.interval = min(2 * self.interval, 30.0)

    def _queued(self) -> float:
        """Seconds without a core since the last record; not a number where the kernel does not say."""
        before, now = self.queued_before, queued_seconds()
        self.queued_before = now
        return now - before if now is not None and before is not None else math.nan

    def collect(self) -> dict[str, Any]:
        """Means of a batch over this process and all workers, and whether fetching draws random numbers."""
        count, seconds, collating = float(self.count), self.seconds, self.collating
        draws, samples_draw = self.draws, self.samples_draw
        looked, looked_seconds, computed, queued = float(self.looked), self.looked_seconds, self.computed, self.queued
        decoding, decoded, again, pictures = self.decoding, PICTURES.count, PICTURES.again, float(PICTURES.bytes)
        sent = sent_seconds = sent_bytes = 0.0
        with suppress(OSError):
            with open(self.path, "rb") as file:
                data = file.read()
            for fetched, spent, on, ready, drew, samples_drew, put, *way in _RECORD.iter_unpack(
                data[: len(data) // _RECORD.size * _RECORD.size]
            ):
                count, seconds, collating = count + fetched, seconds + spent, collating + put
                draws, samples_draw = draws or bool(drew), samples_draw or bool(samples_drew)
                looked, looked_seconds = looked + fetched, looked_seconds + spent
                computed, queued = computed + on, queued + ready
                sent, sent_seconds, sent_bytes = sent + way[0], sent_seconds + way[1], sent_bytes + way[2]
                decoding, decoded = decoding + way[3], decoded + way[4]
                again, pictures = again + way[5], pictures + way[6]
        if not count:
            return {}
        fetch = seconds / count
        found: dict[str, Any] = {"fetch_seconds": fetch, "fetch_uses_rng": draws, "samples_use_rng": samples_draw}
        if not math.isnan(collating):
            collate = min(fetch, collating / count)
            found.update(fetch_samples_seconds=fetch - collate, fetch_collate_seconds=collate)
        if looked and looked_seconds and not math.isnan(queued):
            # What is read for the whole process may be more than the fetch, and between fetches, too, a worker may
            # have waited for a core.
            busy = min(1.0, computed / looked_seconds)
            waited = min(queued / looked_seconds, 1 - busy)
            found.update(fetch_cpu_seconds=busy * fetch, fetch_queue_seconds=waited * fetch)
        if decoding and looked and decoded:
            found.update(decode_seconds=decoding / looked, decoded_again_share=again / decoded, decoded_bytes=pictures)
        if sent:
            found.update(send_seconds=sent_seconds / sent, sent_bytes=sent_bytes / sent)
        return found
