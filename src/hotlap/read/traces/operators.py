"""Operators by what calls what: spans of a thread that lie in one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotlap.read.traces.columns import END, NAME, START, THREAD, UNKNOWN, Array
from hotlap.records.traced import TracedOperator


@dataclass
class Nesting:
    """``rows`` in the order of threads and of time, so that a parent stands before its children."""

    rows: Array
    #: Index of the innermost span around each, or -1.
    parent: Array

    def self_times(self) -> Array:
        spans = self.rows[:, END] - self.rows[:, START]
        inner = self.parent >= 0
        called = np.bincount(self.parent[inner], spans[inner], minlength=len(spans))
        return np.maximum(spans - called, 0.0)

    def up(self, values: Array) -> Array:
        """Return each value with those of all that is inside of it."""
        total, parent = values.tolist(), self.parent.tolist()
        for index in range(len(total) - 1, -1, -1):
            if parent[index] >= 0:
                total[parent[index]] += total[index]
        return np.array(total)

    def inherit(self, values: Array) -> Array:
        """Return each value, or where it is -1 that of the nearest span around it which has one."""
        known, parent = values.tolist(), self.parent.tolist()
        for index, value in enumerate(known):
            if value < 0 and parent[index] >= 0:
                known[index] = known[parent[index]]
        return np.array(known, int)

    def around(self, threads: Array, moments: Array) -> Array:
        """Return the index of the innermost span around each moment of a thread, or -1."""
        found = np.full(len(moments), UNKNOWN)
        for thread in np.unique(threads):
            mine = np.flatnonzero(self.rows[:, THREAD] == thread)
            asked = np.flatnonzero(threads == thread)
            if not len(mine):
                continue
            at = np.searchsorted(self.rows[mine, START], moments[asked], side="right") - 1
            index = np.where(at >= 0, mine[np.maximum(at, 0)], UNKNOWN)
            # The last one that began may have ended: then it is one of those around it.
            while True:
                ended = (index >= 0) & (self.rows[index, END] < moments[asked])
                if not ended.any():
                    break
                index[ended] = self.parent[index[ended]]
            found[asked] = index
        return found


def nest(operators: Array) -> Nesting:
    """Find the span around each span. What overlaps without lying inside counts as inside, as in a stack."""
    rows = operators[np.lexsort((-operators[:, END], operators[:, START], operators[:, THREAD]))]
    parent = []
    stack: list[int] = []
    ends: list[float] = []
    before = None
    for index, (thread, start, end) in enumerate(rows[:, [THREAD, START, END]].tolist()):
        if thread != before:
            stack, ends, before = [], [], thread
        while ends and ends[-1] <= start:
            stack.pop()
            ends.pop()
        parent.append(stack[-1] if stack else UNKNOWN)
        stack.append(index)
        ends.append(end)
    return Nesting(rows, np.array(parent, int))


def operators(nesting: Nesting, device: Array, names: list[str], inside: Array, steps: int) -> list[TracedOperator]:
    """Add up by name what lies in the steps, the most self time first.

    ``device`` are the microseconds of kernels that each span launched itself, ``inside`` says which spans count.
    """
    if not inside.any():
        return []
    rows, own = nesting.rows, nesting.self_times()
    total_device = nesting.up(device)
    name = rows[:, NAME].astype(int)
    # A span inside one of the same name is in that one's total already.
    outermost = inside & ~_repeats(nesting.parent.tolist(), name.tolist())
    count = len(names)

    def summed(values: Array, where: Array) -> Array:
        return np.bincount(name[where], values[where], minlength=count) / 1e6 / steps

    self_host, total_host = summed(own, inside), summed(rows[:, END] - rows[:, START], outermost)
    self_device, all_device = summed(device, inside), summed(total_device, outermost)
    calls = np.bincount(name[inside], minlength=count) / steps
    return [
        TracedOperator(
            name=names[each],
            calls=float(calls[each]),
            self_host=float(self_host[each]),
            total_host=float(total_host[each]),
            self_device=float(self_device[each]),
            total_device=float(all_device[each]),
        )
        for each in np.argsort(-(self_host + self_device), kind="stable")
        if calls[each] and not names[each].startswith("ProfilerStep")
    ]


def _repeats(parent: list[int], name: list[int]) -> Array:
    """Whether a span lies inside one of its own name."""
    found = np.zeros(len(parent), bool)
    for index, here in enumerate(name):
        above = parent[index]
        while above >= 0:
            if name[above] == here:
                found[index] = True
                break
            above = parent[above]
    return found
