"""What a dataset holds at the moment when its loader starts, and what each worker will get of it. On request only.

    DataLoader.__iter__ ── before its workers start ──> objects (``reachable``), caches (``own_caches``),
                                                        what is sent to a worker that is not forked

One look at each of the first loaders, before the training's first step is over.
"""

from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Callable
from typing import Any

from hotlap.probe.harmless import harmless
from hotlap.probe.own_caches import caches
from hotlap.probe.reachable import Walk, is_a
from hotlap.probe.recorder import Recorder

#: Loaders that are looked at, and seconds of work for packing a dataset.
_LOADERS = 4
_PICKLING = 2.0


def watch_held(torch: Any, recorder: Recorder) -> None:
    loaders = torch.utils.data.DataLoader
    begin = loaders.__iter__
    looked = 0

    @functools.wraps(begin)
    def __iter__(self: Any) -> Any:  # noqa: N807
        nonlocal looked
        own = self.__dict__
        if looked < _LOADERS and not recorder.steps and "_hotlap_held" not in own:
            looked += 1
            own["_hotlap_held"] = True
            name = own.get("_hotlap_loader") or own.setdefault("_hotlap_loader", recorder.new_loader())
            look(torch, recorder, name, self)
        return begin(self)

    loaders.__iter__ = __iter__


@harmless
def look(torch: Any, recorder: Recorder, name: str, loader: Any) -> None:
    began = time.perf_counter()
    walk = Walk(torch, loader.dataset)
    method = start_method(torch, loader) if loader.num_workers else None
    sent, all_sent = (None, True) if method in (None, "fork") else pickled(torch, loader.dataset)
    recorder.event(
        "dataset",
        loader=name,
        workers=loader.num_workers,
        start_method=method,
        objects=walk.objects,
        bytes=walk.bytes,
        types=walk.types,
        arrays=walk.arrays,
        array_bytes=walk.array_bytes,
        shared_bytes=walk.shared_bytes,
        complete=walk.complete,
        pickled=sent,
        pickled_whole=all_sent,
        caches=caches(torch, loader.dataset),
        seconds=time.perf_counter() - began,
    )


def start_method(torch: Any, loader: Any) -> str:
    """How its workers begin: fork, spawn or forkserver."""
    context = loader.multiprocessing_context or torch.multiprocessing
    # Without choosing it, which only the script may.
    return str(context.get_start_method(allow_none=True) or torch.multiprocessing.get_all_start_methods()[0])


class _Late(Exception):
    """There is no time for the rest."""


class _Sink:
    """Counts what is written, until it is late."""

    def __init__(self, clock: Callable[[], float], end: float) -> None:
        self.bytes = 0
        self.clock = clock
        self.end = end

    def write(self, data: Any) -> None:
        self.bytes += memoryview(data).nbytes
        if self.clock() > self.end:
            raise _Late


class _Pickler(pickle.Pickler):
    """Asked about objects that Python's own types do not explain; a tensor is sent as the place of its memory."""

    def __init__(self, torch: Any, sink: _Sink) -> None:
        super().__init__(sink, pickle.HIGHEST_PROTOCOL)
        self.tensor = torch.Tensor

    def reducer_override(self, each: Any) -> Any:
        return (_tensor, ()) if is_a(type(each), self.tensor) else NotImplemented


def _tensor() -> None:
    pass


def pickled(
    torch: Any, dataset: Any, seconds: float = _PICKLING, clock: Callable[[], float] = time.thread_time
) -> tuple[int | None, bool]:
    """Bytes that a worker which is not forked is sent, without the memory of tensors, and whether that is all.

    It is what the loader does next. None where it cannot be done here.
    """
    sink = _Sink(clock, clock() + seconds)
    try:
        _Pickler(torch, sink).dump(dataset)
    except _Late:
        return sink.bytes, False
    except Exception:
        return None, True  # what can only be sent while a process starts, as a lock
    return sink.bytes, True
