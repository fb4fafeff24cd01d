"""A few steps seen from close by: operators, kernels and floating-point operations."""

from __future__ import annotations

import msgspec

from hotlap.records.work import Work


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """An operator or kernel, with what it takes itself in a step: what it calls is not in it."""

    name: str
    calls: float
    seconds: float


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The trace itself is ``trace.json.gz`` in the run directory, unless ``bytes`` is unknown."""

    #: Steps that were traced; figures are means over them, and tracing made the steps longer.
    steps: int = 0
    #: Why none was, where none could be.
    untraced: str | None = None
    operators: list[Operator] = []
    kernels: list[Operator] = []
    #: Seconds per step in which the device ran something, and from its first to its last kernel.
    device_busy: float | None = None
    device_window: float | None = None
    events: int | None = None
    bytes: int | None = None
    #: Floating-point operations of a step, 2 for each multiply-add; or why they were not counted.
    flops: float | None = None
    #: All that the step computes and moves.
    work: Work | None = None
    uncounted: str | None = None
    #: FLOP/s that this machine reaches in a large matrix product of this type.
    peak: float | None = None
    peak_dtype: str | None = None
