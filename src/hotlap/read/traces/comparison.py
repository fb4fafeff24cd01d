"""Two traces side by side, part by part and name by name."""

from __future__ import annotations

from collections.abc import Mapping

from hotlap.records import TraceComparison, TracedRank, TracedShift, TraceReading

#: Kernels and operators that are told, those that differ most.
_TOLD = 50


def compare(a: TraceReading, b: TraceReading) -> TraceComparison:
    """Compare the first ranks of two readings, in seconds of a mean step each."""
    first, second = a.ranks[0], b.ranks[0]
    on_device = first.device is not None and second.device is not None
    return TraceComparison(
        a=a,
        b=b,
        parts=_parts(first, second, on_device),
        kernels=_shifts(
            {each.name: (each.seconds, each.calls) for each in first.kernels},
            {each.name: (each.seconds, each.calls) for each in second.kernels},
        ),
        operators=_shifts(
            {each.name: (each.self_device if on_device else each.self_host, each.calls) for each in first.operators},
            {each.name: (each.self_device if on_device else each.self_host, each.calls) for each in second.operators},
        ),
    )


def _parts(a: TracedRank, b: TracedRank, on_device: bool) -> list[TracedShift]:
    before, after = (_of_device(each) if on_device else each.host for each in (a, b))
    return [TracedShift(name=name, a=before.get(name), b=after.get(name)) for name in before | after]


def _of_device(rank: TracedRank) -> dict[str, float]:
    device = rank.device
    assert device is not None
    parts = {"computing": device.computing, "communication": device.communication, "copies": device.copies}
    return parts | {f"idle_{cause}": spent for cause, spent in device.idle.items()}


def _shifts(a: Mapping[str, tuple[float, float]], b: Mapping[str, tuple[float, float]]) -> list[TracedShift]:
    found = []
    for name in {**a, **b}:
        (before, calls), (after, later) = a.get(name, (None, None)), b.get(name, (None, None))
        found.append(TracedShift(name=name, a=before, b=after, a_calls=calls, b_calls=later))
    found.sort(key=lambda each: -abs((each.b or 0.0) - (each.a or 0.0)))
    return found[:_TOLD]
