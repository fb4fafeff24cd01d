"""The phases of all steps as a trace that ui.perfetto.dev and chrome://tracing open.

    process "rank 0"
      track "process"        starting | building        ...                     ending
      track "steps"          step 0         | step 1        | step 2 ...
                             wait | forward | backward              a slice in a slice is a part of it
                                              └ recompute
      track "compilations", "loader starts"
      counters               loss, samples/s, memory, metrics

The format is that of trace events in JSON: "X" a slice with its duration, "C" a counter, "i" a moment, "M" the name of
a track. Slices of a track nest, those around others come first, and events are in the order of time. Times in it are
microseconds; they are computed in whole nanoseconds, so that a part never ends after what it is a part of.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

import hotlap
from hotlap.export.described import about
from hotlap.launch.marks import MarkedStep, marked_steps
from hotlap.records import UNCOUNTED, Run

Event = dict[str, Any]

_SECOND = 10**9
_PROCESS, _STEPS, _COMPILATIONS, _LOADERS = 1, 2, 3, 4
_TRACKS = {_PROCESS: "process", _STEPS: "steps", _COMPILATIONS: "compilations", _LOADERS: "loader starts"}
_INSIDE_BACKWARD = ("backward", "recompute", "gradient_sync")
#: Bytes that are written at once.
_CHUNK = 1 << 16


class Sink(Protocol):
    """What bytes can be written to, packed or not."""

    def write(self, data: bytes, /) -> object: ...


def write(run: Run, directory: Path, file: Sink) -> int:
    """Write the trace of a run that lies in ``directory``, event by event; return how many events it has."""
    encode = msgspec.json.Encoder().encode
    described = {"exported_by": f"hotlap {hotlap.__version__}", **about(run)}
    text = bytearray(b'{"displayTimeUnit":"ms","otherData":' + encode(described) + b',"traceEvents":[')
    count = 0
    for event in events(run, directory):
        text += (b",\n" if count else b"\n") + encode(event)
        count += 1
        if len(text) >= _CHUNK:
            file.write(bytes(text))
            text.clear()
    file.write(bytes(text) + b"\n]}\n")
    return count


def events(run: Run, directory: Path) -> Iterator[Event]:
    """Yield the names of the tracks, and then all events in the order of time."""
    files = {0: directory / "steps.jsonl"}
    files |= {rank.rank: directory / f"steps.rank{rank.rank}.jsonl" for rank in run.ranks if rank.rank > 0}
    origin = round(run.info.started * _SECOND)
    tracks = [_PROCESS, _STEPS]
    tracks += [_COMPILATIONS] * bool(run.compilations) + [_LOADERS] * bool(run.loader_starts)
    for rank in files:
        yield _name("process_name", rank, _STEPS, f"rank {rank}" if len(files) > 1 else "training")
        for track in tracks if rank == 0 else [_STEPS]:
            yield _name("thread_name", rank, track, _TRACKS[track])
            yield _name("thread_sort_index", rank, track, track)
    streams = [_of_steps(marked_steps(path), rank, origin) for rank, path in files.items()]
    yield from heapq.merge(_around(run, origin), *streams, key=lambda event: event["ts"])


def _of_steps(steps: Iterable[MarkedStep], rank: int, origin: int) -> Iterator[Event]:
    number = True
    for step in steps:
        begin, end = step.times[0] - origin, step.times[-1] - origin
        told = {"samples": step.samples, "loss": _finite(step.loss), "micro_batches": step.micro_batches}
        arguments: Event = {name: value for name, value in told.items() if value is not None}
        if step.looked:
            arguments["looked"] = "the probe looked at it from close by, which costs time"
        yield _slice(f"step {step.i}", "step", rank, _STEPS, begin, end, arguments)
        speed = None if step.looked else _throughput(step)
        if speed is not None:
            yield _counter("throughput", "samples/s", rank, begin, speed)
        yield from _phases(step, rank, origin)
        if step.loss is None:
            continue
        if math.isfinite(step.loss):
            yield _counter("loss", "value", rank, end, step.loss)
        elif number:
            yield _moment(f"the loss is {step.loss}", rank, end)
        number = math.isfinite(step.loss)


def _phases(step: MarkedStep, rank: int, origin: int) -> Iterator[Event]:
    """What happens inside of backward lies in a slice of it."""
    spans = [(phase, begin - origin, end - origin) for phase, begin, end in step.spans()]
    at = 0
    while at < len(spans):
        beyond = at
        while beyond < len(spans) and spans[beyond][0] in _INSIDE_BACKWARD:
            beyond += 1
        inside = [span for span in spans[at:beyond] if span[0] != "backward"]
        if inside:
            yield _slice("backward", "phase", rank, _STEPS, spans[at][1], spans[beyond - 1][2])
        for phase, begin, end in inside or spans[at : at + 1]:
            yield _slice(phase, "phase", rank, _STEPS, begin, end)
        at = max(beyond, at + 1) if inside else at + 1


def _throughput(step: MarkedStep) -> float | None:
    spent = sum(end - begin for phase, begin, end in step.spans() if phase not in (*UNCOUNTED, "paused"))
    return step.samples * _SECOND / spent if step.samples and spent > 0 else None


def _around(run: Run, origin: int) -> list[Event]:
    """What is known besides the marks, which is little: in the order of time, slices around others first."""

    def ns(t: float) -> int:
        return round(t * _SECOND) - origin

    found: list[Event] = []
    if run.steps:
        first, last = run.steps[0], run.steps[-1]
        began, left, ended = ns(first.t), ns(last.t + last.wall + last.paused), ns(run.info.ended)
        imported = min(began, max(0, ns(run.startup.imported))) if run.startup else began
        for name, begin, end in (("starting", 0, imported), ("building", imported, began), ("ending", left, ended)):
            if end > begin:
                found.append(_slice(name, "process", 0, _PROCESS, begin, end))
    compilations = [
        (
            each.what or "compilation",
            ns(each.t),
            ns(each.t + each.seconds),
            {"because": each.reason} if each.reason else {},
        )
        for each in run.compilations
    ]
    starts = [
        (each.loader or "loader", ns(each.t), ns(each.t + each.seconds), {"workers": each.workers, "fresh": each.fresh})
        for each in run.loader_starts
    ]
    for track, spans in ((_COMPILATIONS, compilations), (_LOADERS, starts)):
        for name, begin, end, arguments in _nested(spans):
            found.append(_slice(name, _TRACKS[track], 0, track, begin, end, arguments))
    found += _memory(run, ns)
    ends = {step.i: ns(step.t + step.wall + step.paused) for step in run.steps}
    found += [
        _counter(metric.name, "value", 0, ends[metric.step], metric.value)
        for metric in run.metrics
        if metric.step in ends and math.isfinite(metric.value)
    ]
    return sorted(found, key=lambda event: (event["ts"], -event.get("dur", 0)))


_Span = tuple[str, int, int, dict[str, Any]]


def _nested(spans: Sequence[_Span]) -> list[_Span]:
    """Slices of one track may lie in each other, but not overlap: one that does is cut where the other one ends."""
    kept: list[_Span] = []
    around: list[int] = []
    for name, begin, end, arguments in sorted(spans, key=lambda span: (span[1], -span[2])):
        while around and around[-1] <= begin:
            around.pop()
        if around and around[-1] < end:
            arguments, end = {**arguments, "cut_us": (end - around[-1]) / 1000}, around[-1]
        around.append(end)
        kept.append((name, begin, end, arguments))
    return kept


def _memory(run: Run, ns: Any) -> Iterator[Event]:
    ends = {step.i + 1: ns(step.t + step.wall + step.paused) for step in run.steps}
    for point in run.memory.points:
        if point.i in ends:
            yield _counter("resident memory", "bytes", 0, ends[point.i], point.bytes)
            if point.device is not None:
                yield _counter("device memory", "bytes", 0, ends[point.i], point.device)
    for sample in run.memory.samples:
        roles = dict.fromkeys(each.role for each in sample.processes)
        held = {role: sum(each.pss for each in sample.processes if each.role == role) for role in roles}
        if held:
            yield {"name": "PSS", "ph": "C", "ts": _us(max(0, ns(sample.t))), "pid": 1, "args": held}


def _slice(name: str, kind: str, rank: int, track: int, begin: int, end: int, arguments: Event | None = None) -> Event:
    event: Event = {"name": name, "cat": kind, "ph": "X", "ts": _us(begin), "dur": _us(max(0, end - begin))}
    event |= _place(rank, track)
    return event | ({"args": arguments} if arguments else {})


def _counter(name: str, unit: str, rank: int, at: int, value: float) -> Event:
    return {"name": name, "ph": "C", "ts": _us(at), "pid": rank + 1, "args": {unit: value}}


def _moment(name: str, rank: int, at: int) -> Event:
    return {"name": name, "ph": "i", "s": "t", "ts": _us(at), **_place(rank, _STEPS)}


def _name(what: str, rank: int, track: int, value: str | int) -> Event:
    kind = "sort_index" if what == "thread_sort_index" else "name"
    return {"name": what, "ph": "M", "ts": 0, **_place(rank, track), "args": {kind: value}}


def _place(rank: int, track: int) -> Event:
    """Numbers that a kernel could give: not 0, which viewers keep for what is idle, and no thread in two processes."""
    return {"pid": rank + 1, "tid": 10 * (rank + 1) + track}


def _us(nanoseconds: int) -> float:
    return nanoseconds / 1000


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
