"""Sees how long a loader takes to start an iteration: ``DataLoader.__iter__``, and the wait for the first batch.

It is wrapped before the hooks wrap it, so that a start lies inside the wait that they record. Later batches pass as
if nothing were here: what times the first one is an attribute of the iterator that takes itself away.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

from hotlap.probe.steps import Steps
from hotlap.probe.timeline import VALIDATION


def watch_loader_starts(torch: Any, steps: Steps) -> None:
    loaders = torch.utils.data.DataLoader
    begin = loaders.__iter__
    numbers = itertools.count()

    @functools.wraps(begin)
    def __iter__(self: Any) -> Any:  # noqa: N807
        old = getattr(self, "_iterator", None)
        start = time.perf_counter()
        iterator = begin(self)
        seconds = round(time.perf_counter() - start, 9)
        with suppress(Exception):  # a loader of another make
            workers, loader = self.num_workers, self.__dict__.get("_hotlap_loader", "")
            fresh = bool(workers) and iterator is not old
            line = {"n": next(numbers), "t": start, "seconds": seconds, "loader": loader, "workers": workers}
            steps.event("loader_start", threading.get_ident(), **line, fresh=fresh)
            if hasattr(iterator, "_next_data"):
                _time_first_batch(iterator, steps, {**line, "fresh": fresh})
        return iterator

    def say_roles() -> None:
        names = [name for name, role in steps.record.roles.items() if role == VALIDATION]
        if names:
            steps.event("validation_loaders", names=names)

    steps.before_facts.append(say_roles)
    loaders.__iter__ = __iter__


def _time_first_batch(iterator: Any, steps: Steps, line: dict[str, Any]) -> None:
    # Without a reference to the iterator itself: its workers end when the script lets go of it, and no later.
    weak = weakref.ref(iterator)

    def first() -> Any:
        iterator = weak()
        assert iterator is not None
        iterator.__dict__.pop("_next_data", None)
        start = time.perf_counter()
        batch = iterator._next_data()
        waited = round(time.perf_counter() - start, 9)
        steps.event("loader_start", threading.get_ident(), **line, first_batch=waited)
        return batch

    iterator._next_data = first
