"""The steps of a trace, on the host and on the device.

    host     |H1 ----------|H2 ----------|H3 ----------|
    device         older ...| E1 of step 1 ...| of step 2 ...| of step 3 .......|
    periods                 |B1---------------|B2------------|B3 ----------------|

A step begins on the device where the host has begun it and all that was launched before has ended: B = max(H, E). So a
device that is behind is not charged with older work, and a step that waits for data is charged with the wait. The
periods have no holes between them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from hotlap.read.traces.columns import DEVICE, END, LAUNCH, NAME, START, THREAD, UNKNOWN, Array, Columns
from hotlap.records.traced import StepMarks

_PROFILER_STEP = re.compile(r"ProfilerStep\s*#\s*\d+")
_OPTIMIZER_STEP = re.compile(r"Optimizer\.step#.*")

#: Spans that name a piece of the loop rather than work, where an old trace calls them operators.
FRAMES = ("ProfilerStep", "Optimizer.step#", "enumerate(DataLoader)#")

#: A last step that is shorter than this share of the others is none.
_BEGUN = 0.1


@dataclass
class Steps:
    marks: StepMarks
    names: list[str]
    #: Shape (n, 2): of the host, and the periods.
    host: Array
    periods: Array
    #: The thread that trains.
    main: int

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def window(self) -> Array:
        return np.array([[self.periods[0, 0], self.periods[-1, 1]]])

    @property
    def seconds(self) -> float:
        """Microseconds of all periods together."""
        return float(self.periods[-1, 1] - self.periods[0, 0])


def steps(columns: Columns, device: Array, called: Array) -> Steps:
    """Tell the steps. ``called`` is when each row of ``device`` was launched, nan where that is not known."""
    marks, names, host, main = _on_host(columns, called)
    if not len(host):
        spans = np.concatenate([each[:, :2] for each in (columns.operators, device) if len(each)])
        host = np.array([[spans[:, 0].min(), max(spans[:, 1].max(), spans[:, 0].min() + 1e-3)]])
        return Steps("whole", ["whole trace"], host, host, main)
    periods = _periods(host, device, called)
    # Where older work fills the trace, nothing of its own is left of the steps.
    return Steps(marks, names, host, periods if periods[-1, 1] > periods[0, 0] else host, main)


def _on_host(columns: Columns, called: Array) -> tuple[StepMarks, list[str], Array, int]:
    found = columns.spans(_PROFILER_STEP, columns.operators)
    if len(found):
        main = int(found[0, THREAD])
        found = found[found[:, THREAD] == main]
        # The end of one is the beginning of the next: what is between them belongs to a step, too.
        ends = np.append(found[1:, START], max(found[-1, END], found[-1, START] + 1e-3))
        spans = ends - found[:, START]
        kept = spans > 0
        # A profiler that stops after a step has begun one more by then, in which nothing, or hardly anything, is done.
        # Of a CUDA graph the host has nothing but the launch.
        work = np.concatenate((_work(columns, main), called[~np.isnan(called)]))
        idle = len(work) > 0 and work.max() < found[-1, START]
        kept[-1] &= spans[-1] >= _BEGUN * np.median(spans) and not idle
        names = [columns.names[int(each)] for each in found[kept, NAME]]
        return "ProfilerStep", names, np.column_stack((found[kept, START], ends[kept])), main
    main = _busiest(columns.operators)
    found = columns.spans(_OPTIMIZER_STEP, columns.operators)
    if not len(found):
        return "whole", [], np.empty((0, 2)), main
    # The most frequent of several optimizers; a step of a wrapped one contains another.
    common = Counter(found[:, NAME].tolist()).most_common(1)[0][0]
    found = found[found[:, NAME] == common]
    main = int(found[0, THREAD])
    ends = np.unique(found[found[:, THREAD] == main, END])
    begin = columns.operators[columns.operators[:, THREAD] == main][0, START]
    ends = ends[ends > begin]
    names = [f"optimizer step {number}" for number in range(1, len(ends) + 1)]
    return "optimizer", names, np.column_stack((np.append(begin, ends[:-1]), ends)), main


def _work(columns: Columns, main: int) -> Array:
    """When the operators of a thread began."""
    frames = [number for number, name in enumerate(columns.names) if name.startswith(FRAMES)]
    own = columns.operators[columns.operators[:, THREAD] == main]
    began: Array = own[~np.isin(own[:, NAME], frames), START]
    return began


def _busiest(operators: Array) -> int:
    if not len(operators):
        return UNKNOWN
    threads = operators[:, THREAD].astype(int)
    return int(np.bincount(threads, operators[:, END] - operators[:, START]).argmax())


def _periods(host: Array, device: Array, called: Array) -> Array:
    # What no call is known of was launched before the trace began, if it began before what is known.
    launched = np.where(np.isnan(called), device[:, START], called)
    if np.isnan(called).any() and not np.isnan(called).all():
        first = device[~np.isnan(called), START].min()
        launched[np.isnan(called) & (device[:, START] < first)] = -np.inf
    order = np.argsort(launched, kind="stable")
    ended = np.maximum.accumulate(device[order, END]) if len(device) else np.empty(0)
    before = np.searchsorted(launched[order], np.append(host[:, 0], host[-1, 1]), side="left")
    done = (
        np.where(before > 0, ended[np.maximum(before - 1, 0)], -np.inf)
        if len(device)
        else np.full(len(host) + 1, -np.inf)
    )
    borders = np.maximum.accumulate(np.maximum(np.append(host[:, 0], host[-1, 1]), done))
    return np.column_stack((borders[:-1], borders[1:]))


def main_device(device: Array) -> int:
    """Return the number of the device with most work, -1 where there is none."""
    if not len(device):
        return UNKNOWN
    numbers, which = np.unique(device[:, DEVICE], return_inverse=True)
    return int(numbers[np.bincount(which, device[:, END] - device[:, START]).argmax()])


def calls(device: Array, runtime: Array) -> Array:
    """Return when each row of ``device`` was launched, and the row of ``runtime`` that did it; else nan and -1."""
    linked = np.flatnonzero(runtime[:, 4] >= 0)
    linked = linked[np.argsort(runtime[linked, 4], kind="stable")]
    keys = runtime[linked, 4]
    at = np.searchsorted(keys, device[:, LAUNCH])
    there = (at < len(keys)) & (device[:, LAUNCH] >= 0)
    there[there] = keys[at[there]] == device[there, LAUNCH]
    row = np.full(len(device), UNKNOWN)
    row[there] = linked[at[there]]
    return np.column_stack((np.where(there, runtime[row, START] if len(runtime) else np.nan, np.nan), row))
