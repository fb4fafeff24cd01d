"""What the host was doing: in the loader, waiting for the device, copying, launching, or out of PyTorch's sight."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hotlap.read.traces.columns import NAME, NAMED, START, THREAD, Array, Columns
from hotlap.read.traces.intervals import NONE, difference, intersection, length, union
from hotlap.read.traces.steps import FRAMES, Steps

#: A training asks its loader for a batch; Lightning has a name of its own for that.
LOADER = re.compile(r"enumerate\(DataLoader\)#.*|.*\.train_dataloader_next|.*\bdataloader_iter_next\b.*")
_WITH_WORKERS = re.compile(r"enumerate\(DataLoader\)#_MultiProcessing.*")
#: The host waits until the device has done what it was given. A copy without "Async" waits, too.
SYNC = re.compile(r"(?:cuda|hip|cu|xpu)\w*Synchronize\w*|(?:cuda|hip)Memcpy(?:2D|3D)?|hipMemcpyWithStream", re.ASCII)
_COPY = re.compile(r"(?:cuda|hip|cu)\w*Memcpy\w*", re.ASCII)
OPTIMIZER = re.compile(r"Optimizer\.step#.*")
#: What autograd runs, with the names that it had in older versions.
BACKWARD = re.compile(
    r"autograd::engine::evaluate_function.*|\w*Backward\d*|torch::autograd::AccumulateGrad|\w+Backward\b.*"
)
_CHECKPOINT = re.compile(r"CheckpointFunctionBackward.*")
_RECOMPUTE = re.compile(r".*\brecompute(?:_fn)?\b.*", re.IGNORECASE)


@dataclass
class Host:
    """Sets of intervals; those of the main thread where nothing else is said."""

    loader: Array
    #: "workers", "no workers", or None.
    loads: str | None
    #: Of all threads that launch work.
    syncs: Array
    copies: Array
    profiler: Array
    optimizer: Array
    #: Of any thread.
    backward: Array
    operators: Array

    def parts(self, steps: Steps) -> dict[str, float]:
        """Return microseconds of all steps by what the host did; each moment is in one of them."""
        left = union(steps.host)
        parts = {}
        for name, spans in (
            ("data_wait", self.loader),
            ("synchronisation", self.syncs),
            ("copy", self.copies),
            ("optimizer", self.optimizer),
            ("backward", self.backward),
            ("operators", self.operators),
        ):
            parts[name] = length(intersection(left, spans))
            left = difference(left, spans)
        parts["outside"] = length(left)
        return parts


def host(columns: Columns, steps: Steps, calling: Array) -> Host:
    """Look at the host. ``calling`` are the rows of ``runtime`` that launched something."""
    on_main = columns.operators[columns.operators[:, THREAD] == steps.main]
    threads = np.append(np.unique(calling[:, THREAD]), steps.main)
    runtime = columns.runtime[np.isin(columns.runtime[:, THREAD], threads)]
    loader = columns.spans(LOADER, on_main)
    loads = None
    if len(loader):
        loads = "workers" if len(columns.spans(_WITH_WORKERS, on_main)) else "no workers"
    plain = on_main[on_main[:, NAMED] == 0]
    plain = plain[~np.isin(plain[:, NAME], [n for n, name in enumerate(columns.names) if name.startswith(FRAMES)])]
    return Host(
        loader=_set(loader),
        loads=loads,
        syncs=_set(columns.spans(SYNC, runtime)),
        copies=_set(columns.spans(_COPY, runtime)),
        profiler=_set(columns.overhead),
        optimizer=_set(columns.spans(OPTIMIZER, on_main)),
        backward=_set(columns.spans(BACKWARD, columns.operators[columns.operators[:, NAMED] == 0])),
        operators=_set(plain),
    )


def recomputing(columns: Columns) -> Array | None:
    """Return the intervals in which activations were computed again, by thread; None where nothing shows them."""
    spans = [columns.recomputing, columns.spans(_RECOMPUTE, columns.operators)]
    rows = [each[:, [0, 1, THREAD]] for each in spans]
    reentrant = columns.spans(_CHECKPOINT, columns.operators)
    inner = columns.spans(BACKWARD, columns.operators)
    inner = inner[~np.isin(inner[:, NAME], reentrant[:, NAME])] if len(reentrant) else inner
    for thread in np.unique(reentrant[:, THREAD]):
        # Inside of it autograd runs once more, through what has been computed again.
        whole = _set(reentrant[reentrant[:, THREAD] == thread])
        nested = inner[inner[:, THREAD] == thread]
        starts = whole[np.clip(np.searchsorted(whole[:, 0], nested[:, START], side="right") - 1, 0, None), 0]
        own = difference(whole, _set(nested[nested[:, START] > starts]))
        rows.append(np.column_stack((own, np.full(len(own), thread))))
    found = np.concatenate(rows)
    return found if len(found) else None


def _set(rows: Array) -> Array:
    return union(rows[:, :2]) if len(rows) else NONE
