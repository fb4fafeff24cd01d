"""Seconds of counted work on a device whose rates are known: a roofline for every operator.

product, convolution, attention, recurrent    the longer of  operations / rate(width)  and  bytes / bandwidth
all else                                      bytes / rate(bytes of the call)
each call                                     its overhead: beside it on a GPU, whose host runs ahead, else on top
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from typing import NamedTuple

from hotlap.probe.counting import Count
from hotlap.records import Calls, Rate, Rates, Work

ARITHMETIC = frozenset(
    {
        "product",
        "batched",
        "convolution",
        "convolution_last",
        "convolution_backward",
        "convolution_backward_last",
        "attention",
        "recurrent",
    }
)
#: A rate that is not known is that of ... ; in the end that of elementwise operators.
_INSTEAD = {
    "batched": "product",
    "convolution": "product",
    "convolution_last": "convolution",
    "convolution_backward": "convolution",
    "convolution_backward_last": "convolution_backward",
    "attention": "batched",
    "recurrent": "product",
}
#: Convolutions; products, attention and recurrent layers; all else; and what calls take.
PARTS = ("convolving", "multiplying", "moving", "calls")


def counted(count: Count) -> Work:
    """What a ``Count`` has counted."""
    return Work.of(count.lines(), count.unknown)


class Timed(NamedTuple):
    """Seconds of a step; ``parts`` are what the device would take of each if it did nothing else."""

    seconds: float
    parts: dict[str, float]
    phases: dict[str, float]
    kinds: dict[str, float]
    #: Of the host, where it runs ahead of a device; it decides where it takes longer than the device.
    host: float | None = None


def timed(work: Work, rates: Rates) -> Timed:
    """What a step's work takes by a device's rates."""
    tables = {(rate.kind, rate.dtype): rate for rate in rates.table}
    factor = {part: rates.factors.get(part, 1.0) for part in PARTS}
    parts = dict.fromkeys(PARTS, 0.0)
    phases: defaultdict[str, float] = defaultdict(float)
    kinds: defaultdict[str, float] = defaultdict(float)
    operators = 0.0
    for call in work.calls:
        operators += call.count
        part = "moving"
        if call.kind in ARITHMETIC:
            part = "convolving" if call.kind.startswith("convolution") else "multiplying"
        own = call.count * factor[part] * (0.0 if call.kind == "view" else _own(call, tables))
        if rates.gap is None:
            each = call.count * factor["calls"] * rates.overhead
        else:
            each = 0.0 if call.kind == "view" else call.count * rates.gap
        parts[part] += own
        parts["calls"] += each
        phases[call.phase] += own + each
        kinds[call.kind] += own + each
    on_device = sum(parts.values())
    most_first = dict(sorted(kinds.items(), key=lambda item: -item[1]))
    if rates.gap is None:
        return Timed(on_device, parts, dict(phases), most_first)
    host = operators * rates.overhead
    return Timed(max(on_device, host), parts, dict(phases), most_first, host)


def _own(call: Calls, tables: dict[tuple[str, str], Rate]) -> float:
    if call.kind not in ARITHMETIC:
        return call.bytes / _rate(_table(call.kind, call.dtype, tables), call.bytes) if call.bytes else 0.0
    moved = call.bytes / _rate(_table("elementwise", call.dtype, tables), call.bytes) if call.bytes else 0.0
    if not call.flops:
        return moved
    return max(call.flops / _rate(_table(call.kind, call.dtype, tables), call.width or math.inf), moved)


def _table(kind: str, dtype: str, tables: dict[tuple[str, str], Rate]) -> Rate:
    while True:
        for each in (dtype, "float32"):
            if (kind, each) in tables:
                return tables[kind, each]
        kind = _INSTEAD.get(kind, "elementwise")


def _rate(rate: Rate, at: float) -> float:
    points = rate.points
    index = bisect_left(points, (at, 0.0))
    if index == 0:
        return points[0][1]
    if index == len(points):
        return points[-1][1]
    (x, low), (y, high) = points[index - 1], points[index]
    share = math.log(at / x) / math.log(y / x)
    return math.exp((1 - share) * math.log(low) + share * math.log(high))
