"""What the training meets when it asks a loader's workers for a batch.

    worker 0 ──> 4 ─┐                     ┌─ the next in order: handed over
    worker 1 ──> 5 ─┴─ queue ── received ─┤
                                          └─ a later one: kept until its turn

While a later one is kept and the next in order is not there, the training waits behind the one worker that makes it.
How long it waits in all is known to ``hooks``.
"""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from typing import Any

from hotlap.probe.timeline import VALIDATION

#: What an iterator of torch's has.
_NEEDED = ("_hotlap_loader", "_num_workers", "_rcvd_idx", "_task_info", "_tasks_outstanding")


class _Seen:
    """Of one loader."""

    def __init__(self) -> None:
        self.waited = 0.0
        #: Of that, with a later batch kept; and the seconds times how many of them there were.
        self.behind = 0.0
        self.kept = 0.0
        #: Batches whose way from the queue was timed, in the thread that pins memory where there is one.
        self.batches = 0
        self.receiving = 0.0


class Arrivals:
    def __init__(self) -> None:
        self.loaders: dict[str, _Seen] = {}
        #: How often this process came to a stop, or went on: time across that is none of a batch's.
        self.stops = 0

    def watch(self, torch: Any) -> None:
        kind = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
        original, clock = kind._get_data, time.perf_counter

        def _get_data(iterator: Any) -> Any:
            try:
                seen = iterator._hotlap_seen
            except AttributeError:
                seen = iterator._hotlap_seen = self._begin(iterator)
            # The first ones come when the workers have started, and an epoch's first answers are no batches.
            if seen is None or iterator._rcvd_idx < iterator._num_workers:
                return original(iterator)
            kept = len(iterator._task_info) - iterator._tasks_outstanding
            if kept:  # or a stream of samples has ended, and what it was asked for since will not come
                kept = sum(len(task) == 2 for task in iterator._task_info.values())
            start, received = clock(), seen.receiving
            found = original(iterator)
            waited = clock() - start
            if not getattr(iterator, "_pin_memory", False):  # there another thread receives
                waited = max(0.0, waited - (seen.receiving - received))
            seen.waited += waited
            if kept:
                seen.behind += waited
                seen.kept += kept * waited
            return found

        kind._get_data = _get_data

    def _begin(self, iterator: Any) -> _Seen | None:
        """None where it is not what is known here, or where no loader that is watched made it."""
        if not all(hasattr(iterator, name) for name in _NEEDED):
            return None
        seen = self.loaders.setdefault(iterator._hotlap_loader, _Seen())
        with suppress(Exception):  # a queue of another make
            self._time_receiving(iterator._worker_result_queue, seen)
        return seen

    def collect(self, roles: dict[str, str]) -> dict[str, Any]:
        """Of the loaders that feed the training."""
        every = [seen for name, seen in self.loaders.items() if roles.get(name) != VALIDATION]
        batches, waited = sum(seen.batches for seen in every), sum(seen.waited for seen in every)
        behind = sum(seen.behind for seen in every)
        found: dict[str, Any] = {}
        if batches:
            found["receive_seconds"] = sum(seen.receiving for seen in every) / batches
        if waited:
            found["head_of_line_share"] = behind / waited
        if behind:
            found["batches_behind"] = sum(seen.kept for seen in every) / behind
        return found

    def _time_receiving(self, queue: Any, seen: _Seen) -> None:
        """From the first bytes of a batch in the queue to the batch."""
        # Without a reference to the queue itself: it closes when the iterator goes, and no later.
        weak, get, poll = weakref.ref(queue), type(queue).get, queue._poll
        clock = time.perf_counter
        arrived: float | None = None
        stops = 0

        def polled(*args: Any, **kwargs: Any) -> Any:
            nonlocal arrived, stops
            there = poll(*args, **kwargs)
            arrived, stops = clock() if there else None, self.stops
            return there

        def received(*args: Any, **kwargs: Any) -> Any:
            nonlocal arrived
            arrived = None
            message = get(weak(), *args, **kwargs)
            is_batch = type(message) is tuple and type(message[0]) is int
            if is_batch and arrived is not None and stops == self.stops:
                seen.receiving += clock() - arrived
                seen.batches += 1
            return message

        queue._poll, queue.get = polled, received
