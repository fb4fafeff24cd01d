"""Where the time of a device goes: computing, communication and copies that nothing runs beside, and idleness by cause.

    device   [kernel]      gap      [kernel]
    host        ...  loader ... L: the call that launches it

The gap until L is the host's: what it did in that time is the cause. A gap before which the next kernel had been
launched already is between kernels. All of them together are the window, and nothing is in two of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotlap.read.traces.columns import COMMUNICATION, COPY, END, KERNEL, KIND, START, STREAM, Array
from hotlap.read.traces.host import Host
from hotlap.read.traces.intervals import difference, holds, intersection, length, union
from hotlap.records.traced import Launches, StreamGaps

#: Microseconds between two kernels of a stream that launching takes anyway; HolisticTraceAnalysis has the same.
_BETWEEN = 30.0


@dataclass
class Busy:
    """Sets of intervals; ``communication`` and ``copies`` are all of them, not those alone."""

    computing: Array
    communication: Array
    copies: Array
    any: Array

    @property
    def communication_alone(self) -> Array:
        return difference(self.communication, self.computing)

    @property
    def copies_alone(self) -> Array:
        return difference(difference(self.copies, self.computing), self.communication)


def busy(device: Array) -> Busy:
    kernels, collectives, copies = (
        union(device[device[:, KIND] == kind, :2]) for kind in (KERNEL, COMMUNICATION, COPY)
    )
    return Busy(kernels, collectives, copies, any=union(device[:, :2]))


def idle(window: Array, device: Array, called: Array, busy: Busy, host: Host) -> dict[str, Array]:
    """Return the sets of intervals in which the device did nothing, by cause."""
    gaps = difference(window, busy.any)
    # What began at the end of a gap; nothing did at the window's.
    order = np.argsort(device[:, START], kind="stable")
    after = np.searchsorted(device[order, START], gaps[:, 1], side="left")
    follows = after < len(order)
    launch = np.full(len(gaps), np.inf)
    launch[follows] = called[order[after[follows]]]
    known = ~np.isnan(launch)
    unknown, gaps, launch = gaps[~known], gaps[known], launch[known]
    late = launch > gaps[:, 0]
    between, gaps, launch = gaps[~late], gaps[late], launch[late]
    until = np.column_stack((gaps[:, 0], np.minimum(launch, gaps[:, 1])))
    on_the_way = np.column_stack((until[:, 1], gaps[:, 1]))
    found = {}
    left = union(until)
    for cause, spans in (("data_wait", host.loader), ("profiler", host.profiler)):
        found[cause] = intersection(left, spans)
        left = difference(left, spans)
    left = union(np.concatenate((left, on_the_way)))
    # A call to copy that the device waits for: from ordinary memory it copies to a buffer of the driver first.
    copying = difference(host.copies, host.syncs)
    found["copy"] = intersection(left, copying)
    left = difference(left, copying)
    # The host was waiting when the device ran dry, and only then prepared what came next.
    drained = holds(host.syncs, gaps[:, 0]) >= 0
    found["synchronisation"] = intersection(left, union(gaps[drained]))
    found["host"] = difference(left, union(gaps[drained]))
    found["between_kernels"] = union(between)
    found["unknown"] = union(unknown)
    return found


def stream_gaps(device: Array, called: Array) -> list[StreamGaps]:
    """Return the gaps of each stream by HolisticTraceAnalysis's categories, over the whole trace, in seconds."""
    found = []
    for stream in np.unique(device[:, STREAM]):
        rows = np.flatnonzero(device[:, STREAM] == stream)
        rows = rows[np.argsort(device[rows, START], kind="stable")]
        gap = device[rows[1:], START] - device[rows[:-1], END]
        host_waits = called[rows[1:]] > device[rows[:-1], END]
        short = ~host_waits & (gap < _BETWEEN)
        sums = [float(gap[mask].sum()) / 1e6 for mask in (host_waits, short, ~host_waits & ~short)]
        found.append(StreamGaps(stream=int(stream), host_wait=sums[0], kernel_wait=sums[1], other=sums[2]))
    return found


def launches(window: Array, device: Array, called: Array, steps: int) -> Launches | None:
    """Say how far the host is ahead, from what was launched in the window."""
    begin, end = window[0]
    inside = (called >= begin) & (called < end)
    if not inside.any():
        return None
    delay = np.maximum(device[inside, START] - called[inside], 0.0)
    moments = np.concatenate((called[inside], called[inside] + delay))
    steps_of = np.concatenate((np.ones(len(delay), int), np.full(len(delay), -1)))
    # What begins makes room before what is launched at the same moment.
    order = np.lexsort((steps_of, moments))
    moments, queued = np.clip(moments[order], begin, end), np.cumsum(steps_of[order])
    spans = np.diff(np.concatenate(([begin], moments, [end])))
    waiting = np.concatenate(([0], queued))
    return Launches(
        count=len(delay) / steps,
        median_delay=float(np.median(delay)) / 1e6,
        p90_delay=float(np.quantile(delay, 0.9)) / 1e6,
        mean_queue=float((waiting * spans).sum() / (end - begin)),
        most_queued=int(queued.max()),
        empty_share=float(spans[waiting <= 0].sum() / (end - begin)),
    )


def seconds(intervals: Array) -> float:
    return length(intervals) / 1e6
