"""One step as it went, moment by moment."""

from __future__ import annotations

import msgspec


class TimelineSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a step in which it was in one phase, in seconds from the step's beginning."""

    phase: str
    start: float
    seconds: float


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Spans follow each other without a hole, those of the same phase joined; ``paused`` stands for the gate."""

    step: int
    seconds: float
    spans: list[TimelineSpan]
