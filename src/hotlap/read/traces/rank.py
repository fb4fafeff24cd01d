"""One trace, from its columns to the record of a rank."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hotlap.diagnose.rules.base import percent
from hotlap.read.traces import device as devices
from hotlap.read.traces.columns import (
    ALLOCATED,
    COMMUNICATION,
    COPY,
    DEVICE,
    END,
    KERNEL,
    KIND,
    NAME,
    NAMED,
    RESERVED,
    START,
    THREAD,
    TYPE,
    UNKNOWN,
    Array,
    Columns,
    columns,
)
from hotlap.read.traces.device import seconds
from hotlap.read.traces.host import BACKWARD, OPTIMIZER, SYNC, Host, host, recomputing
from hotlap.read.traces.intervals import covered, holds, intersection, union
from hotlap.read.traces.operators import Nesting, nest, operators
from hotlap.read.traces.steps import Steps, calls, main_device, steps
from hotlap.records.traced import TracedDevice, TracedKernel, TracedMemory, TracedRank, TracedStep

#: Kernels and operators that are told: more than anybody reads, and enough to compare.
_TOLD = 200
_SYNCS = 10
#: Less than this share of what the device did is no matter.
_MUCH = 0.05
_CPU = 0
_KINDS: dict[int, Literal["compute", "communication", "copy"]] = {
    KERNEL: "compute",
    COMMUNICATION: "communication",
    COPY: "copy",
}
_RANK = re.compile(r"rank[_-]?(\d{1,6})(?!\d)", re.IGNORECASE)


@dataclass
class _Seen:
    """What the parts of a rank are made from."""

    columns: Columns
    steps: Steps
    host: Host
    nesting: Nesting
    #: The rows of the device with most work, when each was launched, and the row of ``runtime`` that did it.
    device: Array
    called: Array
    caller: Array
    recomputing: Array | None

    @property
    def in_window(self) -> Array:
        begin, end = self.steps.window[0]
        inside: Array = (self.device[:, START] >= begin) & (self.device[:, START] < end)
        return inside

    def in_recompute(self, threads: Array, moments: Array) -> Array:
        inside = np.zeros(len(moments), bool)
        spans = self.recomputing
        if spans is not None:
            for thread in np.unique(spans[:, 2]):
                mine = threads == thread
                inside[mine] = holds(union(spans[spans[:, 2] == thread, :2]), moments[mine]) >= 0
        return inside


def read_rank(path: Path) -> TracedRank:
    """Read one trace.

    Raises:
        RunError: it cannot be read, or is none.
    """
    seen = _see(columns(path))
    rows, marks = seen.columns, seen.steps
    number, ranks = _number_of_rank(path, rows.header)
    kernels, launched = _kernels(seen), _launched(seen)
    begin, end = marks.host[0, 0], marks.host[-1, 1]
    starts = seen.nesting.rows[:, START]
    told = operators(seen.nesting, launched, rows.names, (starts >= begin) & (starts < end), marks.count)
    own = _set_of(seen.recomputing)
    device = _device(seen) if len(seen.device) else None
    return TracedRank(
        path=str(path),
        rank=number,
        ranks=ranks,
        bytes=rows.bytes,
        events=rows.events,
        marks=marks.marks,
        steps=_steps(seen),
        step_seconds=marks.seconds / 1e6 / marks.count,
        host={name: spent / 1e6 / marks.count for name, spent in seen.host.parts(marks).items()},
        loader=seen.host.loads,
        device=device,
        kernels=kernels[:_TOLD],
        operators=told[:_TOLD],
        syncs=_syncs(seen),
        recompute_host=None if own is None else seconds(intersection(own, marks.host)) / marks.count,
        recompute_device=device.by_phase.get("recompute", 0.0) if device and own is not None else None,
        memory=_memory(rows),
        notes=_notes(seen),
    )


def _see(rows: Columns) -> _Seen:
    number = main_device(rows.device)
    device = rows.device[rows.device[:, DEVICE] == number]
    called, caller = calls(device, rows.runtime).T
    caller = caller.astype(int)
    marks = steps(rows, device, called)
    calling = rows.runtime[np.unique(caller[caller >= 0])]
    return _Seen(
        columns=rows,
        steps=marks,
        host=host(rows, marks, calling),
        nesting=nest(rows.operators),
        device=device,
        called=called,
        caller=caller,
        recomputing=recomputing(rows),
    )


def _number_of_rank(path: Path, header: dict[str, Any]) -> tuple[int | None, int | None]:
    about = header.get("distributedInfo")
    about = about if isinstance(about, dict) else {}
    number, ranks = about.get("rank"), about.get("world_size")
    if not isinstance(number, int):
        named = _RANK.search(path.name)
        number = int(named[1]) if named else None
    return number, ranks if isinstance(ranks, int) else None


def _steps(seen: _Seen) -> list[TracedStep]:
    marks, there = seen.steps, len(seen.device) > 0
    busy = devices.busy(seen.device)
    waits = covered(marks.host, seen.host.loader) / 1e6
    wall, periods = np.diff(marks.host)[:, 0] / 1e6, np.diff(marks.periods)[:, 0] / 1e6
    sets = (busy.computing, busy.communication_alone, busy.any, busy.communication)
    parts = [covered(marks.periods, spans) / 1e6 for spans in sets]
    return [
        TracedStep(
            name=name,
            host=float(wall[each]),
            seconds=float(periods[each]),
            computing=float(parts[0][each]) if there else None,
            communication=float(parts[1][each]) if there else None,
            idle=max(0.0, float(periods[each] - parts[2][each])) if there else None,
            communicating=float(parts[3][each]) if there else None,
            data_wait=float(waits[each]),
        )
        for each, name in enumerate(marks.names)
    ]


def _device(seen: _Seen) -> TracedDevice:
    device, marks = seen.device, seen.steps
    busy, number = devices.busy(device), int(device[0, DEVICE])

    def per_step(intervals: Array) -> float:
        return seconds(intersection(intervals, marks.window)) / marks.count

    idle = devices.idle(marks.window, device, seen.called, busy, seen.host)
    communicating = per_step(busy.communication)
    alone = per_step(busy.communication_alone)
    about = _about_device(seen.columns.header, number)
    return TracedDevice(
        number=number,
        name=about.get("name") if isinstance(about.get("name"), str) else None,
        memory=about.get("totalGlobalMem") if isinstance(about.get("totalGlobalMem"), int) else None,
        computing=per_step(busy.computing),
        communication=alone,
        copies=per_step(busy.copies_alone),
        idle={cause: seconds(spans) / marks.count for cause, spans in idle.items()},
        by_phase=_by_phase(seen),
        communicating=communicating,
        overlap=1 - alone / communicating if communicating > 0 else None,
        streams=devices.stream_gaps(device, seen.called),
        launches=devices.launches(marks.window, device, seen.called, marks.count),
        others=sorted({int(other) for other in seen.columns.device[:, DEVICE]} - {number}),
    )


def _about_device(header: dict[str, Any], number: int) -> dict[str, Any]:
    known = header.get("deviceProperties")
    known = known if isinstance(known, list) else []
    return next((each for each in known if isinstance(each, dict) and each.get("id") == number), {})


def _callers(seen: _Seen) -> tuple[Array, Array]:
    """Return the thread that launched each row of the device, -1 where unknown, and when."""
    runtime, caller = seen.columns.runtime, seen.caller
    threads = np.full(len(caller), UNKNOWN)
    threads[caller >= 0] = runtime[caller[caller >= 0], THREAD]
    return threads, np.where(np.isnan(seen.called), -np.inf, seen.called)


def _by_phase(seen: _Seen) -> dict[str, float]:
    device, names = seen.device, seen.columns.names
    threads, moments = _callers(seen)
    around = seen.nesting.around(threads, moments)
    codes = np.array([0 if BACKWARD.fullmatch(name) else 1 if OPTIMIZER.fullmatch(name) else UNKNOWN for name in names])
    rows = seen.nesting.rows
    own = codes[rows[:, NAME].astype(int)] if len(rows) else codes[:0]
    # Whatever somebody calls a piece of the loop, autograd runs operators.
    phase = seen.nesting.inherit(np.where((own == 0) & (rows[:, NAMED] == 1), UNKNOWN, own))
    of = np.where(around >= 0, phase[around], UNKNOWN) if len(phase) else around
    again, kind = seen.in_recompute(threads, moments), device[:, KIND]
    spent = device[:, END] - device[:, START]
    masks = {
        "communication": kind == COMMUNICATION,
        "copies": kind == COPY,
        "unknown": seen.caller < 0,
        "recompute": again,
        "backward": of == 0,
        "optimizer": of == 1,
        "forward": np.ones(len(device), bool),
    }
    left, found = seen.in_window, {}
    for name, mask in masks.items():
        found[name] = float(spent[left & mask].sum()) / 1e6 / seen.steps.count
        left = left & ~mask
    return {name: value for name, value in found.items() if value > 0}


def _kernels(seen: _Seen) -> list[TracedKernel]:
    device = seen.device[seen.in_window]
    if not len(device):
        return []
    number, first, which, count = np.unique(device[:, NAME], return_index=True, return_inverse=True, return_counts=True)
    spent = np.bincount(which, device[:, END] - device[:, START]) / 1e6 / seen.steps.count
    return [
        TracedKernel(
            name=seen.columns.names[int(number[each])],
            kind=_KINDS[int(device[first[each], KIND])],
            calls=float(count[each]) / seen.steps.count,
            seconds=float(spent[each]),
        )
        for each in np.argsort(-spent, kind="stable")
    ]


def _launched(seen: _Seen) -> Array:
    """Microseconds on the device that each operator launched itself."""
    found = np.zeros(len(seen.nesting.rows))
    around = seen.nesting.around(*_callers(seen))
    counts = (around >= 0) & seen.in_window
    np.add.at(found, around[counts], seen.device[counts, END] - seen.device[counts, START])
    return found


def _syncs(seen: _Seen) -> dict[str, float]:
    """Host seconds a step in synchronising calls, by the outermost operator around them."""
    rows, nesting = seen.columns.spans(SYNC, seen.columns.runtime), seen.nesting
    begin, end = seen.steps.host[0, 0], seen.steps.host[-1, 1]
    rows = rows[(rows[:, START] >= begin) & (rows[:, END] <= end)]
    found: dict[str, float] = {}
    for row, index in zip(rows, nesting.around(rows[:, THREAD], rows[:, START]).tolist(), strict=True):
        name = seen.columns.names[int(row[NAME])]
        while index >= 0:
            around = seen.columns.names[int(nesting.rows[index, NAME])]
            if around.startswith("aten::"):
                name = around
            index = int(nesting.parent[index])
        found[name] = found.get(name, 0.0) + float(row[END] - row[START]) / 1e6 / seen.steps.count
    return dict(sorted(found.items(), key=lambda each: -each[1])[:_SYNCS])


def _memory(rows: Columns) -> TracedMemory | None:
    of_device = rows.memory[rows.memory[:, TYPE] > _CPU]
    if not len(of_device):
        return None

    def peak(column: int) -> int | None:
        values = of_device[np.isfinite(of_device[:, column]), column]
        return int(values.max()) if len(values) else None

    return TracedMemory(events=len(of_device), peak_allocated=peak(ALLOCATED), peak_reserved=peak(RESERVED))


def _set_of(spans: Array | None) -> Array | None:
    return None if spans is None else union(spans[:, :2])


def _notes(seen: _Seen) -> list[str]:
    rows, notes = seen.columns, []
    if rows.unreadable:
        notes.append(f"{rows.unreadable:,} events could not be read and are left out.")
    if rows.senseless:
        notes.append(f"{rows.senseless:,} events have no time, or one that cannot be, and are left out.")
    inside = seen.in_window
    unknown = float(np.mean(seen.caller[inside] < 0)) if inside.any() else 0.0
    if unknown > _MUCH:
        notes.append(
            f"The call that launched it is missing for {percent(unknown)} of what the device did (it came before the "
            "trace began, or was filtered out): what the device waited for is not known there."
        )
    return notes
