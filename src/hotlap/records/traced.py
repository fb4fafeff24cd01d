"""What a trace of torch.profiler says: rank by rank, in seconds per step."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.results import Finding, WillNotHelp

#: How the steps of a trace were told: by the profiler's own marks, by the ends of ``Optimizer.step``, or not at all:
#: then the whole trace counts as one.
StepMarks = Literal["ProfilerStep", "optimizer", "whole"]


class TracedStep(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    #: From the step's beginning to its end on the host.
    host: float
    #: From where the host has begun it and the device is done with the one before, to the same moment of the next.
    seconds: float
    #: Seconds of that in which the device computed, ran nothing but communication, and did nothing; None without one.
    computing: float | None = None
    communication: float | None = None
    idle: float | None = None
    #: All of its communication, what runs beside computing included.
    communicating: float | None = None
    #: Seconds that the host spent in the loader.
    data_wait: float = 0.0


class TracedKernel(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: Literal["compute", "communication", "copy"]
    calls: float
    seconds: float


class TracedOperator(msgspec.Struct, frozen=True, kw_only=True):
    """Host seconds of an operator, and device seconds of the kernels that it launched; ``self`` without its callees."""

    name: str
    calls: float
    self_host: float
    total_host: float
    self_device: float
    total_device: float


class StreamGaps(msgspec.Struct, frozen=True, kw_only=True):
    """Time between the kernels of one stream, over the whole trace, by the categories of HolisticTraceAnalysis."""

    stream: int
    #: The next kernel was launched after the one before had ended.
    host_wait: float
    #: It was launched before, and the gap is shorter than 30 µs; or longer.
    kernel_wait: float
    other: float


class Launches(msgspec.Struct, frozen=True, kw_only=True):
    """How far the host is ahead of the device."""

    #: Launches of a step, and seconds from a call to the beginning of what it launched.
    count: float
    median_delay: float
    p90_delay: float
    #: Launched and not begun yet: mean over time, most at once, and the share of time with nothing waiting.
    mean_queue: float
    most_queued: int
    empty_share: float


class TracedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device. ``computing``, ``communication``, ``copies`` and all of ``idle`` add up to the step."""

    number: int
    name: str | None
    memory: int | None
    #: Something computes; only collectives run; nothing but copies runs.
    computing: float
    communication: float
    copies: float
    #: By cause: data_wait, synchronisation, copy, profiler, host, between_kernels, unknown.
    idle: dict[str, float]
    #: Seconds of kernels by what launched them: forward (all that is not one of the others), backward, recompute,
    #: optimizer, communication, copies, unknown. They may run at the same time.
    by_phase: dict[str, float]
    #: All communication, and the share of it that runs beside computing; None where there is none.
    communicating: float = 0.0
    overlap: float | None = None
    streams: list[StreamGaps] = []
    launches: Launches | None = None
    #: Other devices that this process used; what is said is of the one with most work.
    others: list[int] = []


class TracedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Of the device, where the profiler recorded it (``profile_memory=True``)."""

    events: int
    #: None where this version of torch did not write them down.
    peak_allocated: int | None
    peak_reserved: int | None


class TracedRank(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    #: None where the trace does not say.
    rank: int | None
    ranks: int | None
    bytes: int
    events: int
    marks: StepMarks
    steps: list[TracedStep]
    #: Mean seconds of a step; of the whole trace where there are no marks.
    step_seconds: float
    #: Of the host's main thread: data_wait, synchronisation, copy, optimizer, backward, operators, outside. They add up
    #: to the mean step on the host.
    host: dict[str, float]
    #: Of the loader: "workers", "no workers", or None where none was seen.
    loader: str | None = None
    device: TracedDevice | None = None
    kernels: list[TracedKernel] = []
    operators: list[TracedOperator] = []
    #: What waited for the device, the longest first: seconds in synchronising calls by the operator around them.
    syncs: dict[str, float] = {}
    #: Host seconds in which activations were computed again, and device seconds; None where the trace cannot show it.
    recompute_host: float | None = None
    recompute_device: float | None = None
    memory: TracedMemory | None = None
    notes: list[str] = []


class TraceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One rank or several of one training."""

    ranks: list[TracedRank]
    findings: list[Finding]
    will_not_help: list[WillNotHelp]
    schema: int = SCHEMA


class TracedShift(msgspec.Struct, frozen=True, kw_only=True):
    """Something of a step in A and in B: seconds and calls, None where it is not there."""

    name: str
    a: float | None
    b: float | None
    a_calls: float | None = None
    b_calls: float | None = None


class TraceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two traces side by side: what differs, which proves nothing about speed (``hotlap compare`` does)."""

    a: TraceReading
    b: TraceReading
    #: The parts of the device's step, or of the host's where a trace has no device.
    parts: list[TracedShift]
    #: The largest differences first.
    kernels: list[TracedShift]
    operators: list[TracedShift]
    schema: int = SCHEMA
