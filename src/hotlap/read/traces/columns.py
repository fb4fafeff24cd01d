"""A trace as columns of numbers: an array for each kind of event, a row for each event, in the order of time.

Times are microseconds after the first event. Names and threads are numbers, which lists translate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hotlap.errors import RunError
from hotlap.read.traces.pieces import Args, Event, Pieces

Array = NDArray[Any]

#: Columns. The first three are the same in every kind.
START, END, NAME = 0, 1, 2
#: Of spans on the host: the thread. Of calls of the runtime, what links them to their work; of operators, whether it is
#: one, or a piece of the loop that somebody named (``record_function``).
THREAD, CALL, NAMED = 3, 4, 4
#: Of what the device did.
LAUNCH, STREAM, DEVICE, KIND, BYTES = 3, 4, 5, 6, 7
#: Of memory: the device's type and number, and what was allocated and reserved then.
TYPE, NUMBER, ALLOCATED, RESERVED = 3, 4, 5, 6

KERNEL, COMMUNICATION, COPY = 0, 1, 2
UNKNOWN = -1

_DEVICE = {"kernel": KERNEL, "Kernel": KERNEL, "gpu_memcpy": COPY, "Memcpy": COPY, "gpu_memset": COPY, "Memset": COPY}
_RUNTIME = {"cuda_runtime", "cuda_driver", "Runtime", "xpu_runtime", "privateuse1_runtime", "privateuse1_driver"}
_ANNOTATION = "user_annotation"
_OPERATORS = {"cpu_op", "Operator", _ANNOTATION}
#: What the profiler itself keeps the host from its work with.
_OVERHEAD = {"overhead", "Overhead"}
_RARE = {*_OVERHEAD, "python_function"}
#: Of Python's functions, of which there are many, this alone is kept: activations that are computed again.
_RECOMPUTES = re.compile(r"torch/utils/checkpoint\.py\(\d+\): (?:recompute_fn|recompute)\b")
#: Kernels by which ranks speak to one another.
_COLLECTIVE = re.compile(r"(?:nccl|rccl|msccl|oneccl|hccl)|.*\bcross_device_reduce|.*\b(?:multimem|symm_mem)_", re.I)
_NO_ARGS = Args()
#: Beyond this no clock counts in microseconds.
_MOST = 1e18


@dataclass
class Columns:
    path: Path
    names: list[str]
    threads: list[tuple[int | str | None, int | str | None]]
    device: Array
    runtime: Array
    #: With those pieces of the loop that have a name.
    operators: Array
    recomputing: Array
    overhead: Array
    memory: Array
    #: All of them, what is not looked at included.
    events: int
    bytes: int
    #: Events without a time, or with one that cannot be.
    senseless: int
    unreadable: int
    header: dict[str, Any] = field(default_factory=dict)

    def spans(self, pattern: re.Pattern[str], rows: Array) -> Array:
        """Return those rows whose whole name matches."""
        wanted = [number for number, name in enumerate(self.names) if pattern.fullmatch(name)]
        return rows[np.isin(rows[:, NAME], wanted)]


def columns(path: Path) -> Columns:
    """Read a trace.

    Raises:
        RunError: it cannot be read, or is none, or holds nothing of PyTorch.
    """
    pieces = Pieces(path)
    sorter = _Sorter()
    for events in pieces:
        sorter.take(events)
    return sorter.done(pieces)


#: Columns of each kind of rows.
_WIDTHS = {"device": 8, "runtime": 5, "operators": 5, "recomputing": 5, "overhead": 3, "memory": 7}
_READ = {*_DEVICE, *_RUNTIME, *_OPERATORS}


class _Sorter:
    """Sorts events into rows by their kind."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.threads: dict[tuple[int | str | None, int | str | None], int] = {}
        self.rows: dict[str, list[Array]] = {kind: [] for kind in _WIDTHS}
        self.kinds: dict[str, int] = {}
        self.events = self.senseless = 0

    def take(self, events: list[Event]) -> None:
        new: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in _WIDTHS}
        names, threads = self.names, self.threads
        for event in events:
            start, category, name, args = event.ts, event.cat, event.name, event.args or _NO_ARGS
            if event.ph != "X":
                if name == "[memory]" and start is not None:
                    where = (args.device_type, args.device_id)
                    new["memory"].append((start, start, UNKNOWN, *where, args.allocated, args.reserved))
                continue
            if category not in _READ and category not in _RARE:
                continue
            if category == "python_function" and not (name and _RECOMPUTES.match(name)):
                continue
            if start is None or name is None or event.dur is None or event.dur < 0:
                self.senseless += 1
                continue
            row = (start, start + event.dur, names.setdefault(name, len(names)))
            thread = threads.setdefault((event.pid, event.tid), len(threads))
            call = UNKNOWN if args.correlation is None else args.correlation
            if category in _OPERATORS:
                new["operators"].append((*row, thread, category == _ANNOTATION))
            elif category in _DEVICE:
                # Without the stream's number its line in the trace stands for it.
                stream = thread if args.stream is None else args.stream
                kind = self._kind(name, category)
                new["device"].append((*row, call, stream, args.device or 0, kind, args.bytes or 0.0))
            elif category in _RUNTIME:
                new["runtime"].append((*row, thread, call))
            elif category in _OVERHEAD:
                new["overhead"].append(row)
            else:
                new["recomputing"].append((*row, thread, UNKNOWN))
        self.events += len(events)
        for table, found in new.items():
            if found:
                self.rows[table].append(_array(found))

    def _kind(self, name: str, category: str) -> int:
        kind = _DEVICE[category]
        if kind == KERNEL:
            kind = self.kinds.setdefault(name, COMMUNICATION if _COLLECTIVE.match(name) else KERNEL)
        return kind

    def done(self, pieces: Pieces) -> Columns:
        rows = {kind: self._joined(kind) for kind in _WIDTHS}
        timed = [each for kind in ("device", "runtime", "operators") if len(each := rows[kind])]
        if not len(rows["device"]) and not len(rows["operators"]):
            exported = pieces.header.get("otherData")
            if isinstance(exported, dict) and str(exported.get("exported_by", "")).startswith("hotlap"):
                raise RunError(
                    f"{pieces.path} is a run that `hotlap export` wrote for trace viewers: the run itself says more, "
                    "see `hotlap report`"
                )
            raise RunError(
                f"{pieces.path} holds {self.events:,} events, and none of them is an operator or a kernel of PyTorch"
            )
        first = min(each[:, START].min() for each in timed)
        for each in rows.values():
            each[:, [START, END]] -= first
        return Columns(
            path=pieces.path,
            names=list(self.names),
            threads=list(self.threads),
            **{kind: each[np.lexsort((-each[:, END], each[:, START]))] for kind, each in rows.items()},
            events=self.events,
            bytes=pieces.bytes,
            senseless=self.senseless,
            unreadable=pieces.unreadable,
            header=pieces.header,
        )

    def _joined(self, kind: str) -> Array:
        rows: Array = np.concatenate(self.rows.pop(kind) or [np.empty((0, _WIDTHS[kind]))])
        sound = np.abs(rows[:, [START, END]]).max(axis=1, initial=0.0) < _MOST
        self.senseless += len(rows) - int(sound.sum())
        rows = rows[sound]
        numbers: Array = rows[:, 3:] if kind != "memory" else rows[:, 3:5]
        numbers[~np.isfinite(numbers)] = UNKNOWN
        return rows


def _array(rows: list[tuple[Any, ...]]) -> Array:
    try:
        return np.array(rows, dtype=float)
    except (OverflowError, TypeError, ValueError):  # numbers of hundreds of digits, lists, words
        return np.array([[_float(value) for value in row] for row in rows])


def _float(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return float("nan")
