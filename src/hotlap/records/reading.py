"""What is known of a training from what it printed.

Every figure says where it comes from, because a log mixes them: what the training printed, what follows from that, what
the user added on the command line, and what is not there. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.results import Finding, WillNotHelp

Origin = Literal["printed", "derived", "given", "missing"]

#: What the data time of a format is: "wait" holds the wait for the loader, "copies" begins after it, "unknown" may be
#: either.
DataTime = Literal["wait", "copies", "unknown"]

#: What a curve goes over: where lines name no step, it is their number, or the epoch.
Counted = Literal["step", "line", "epoch"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    value: float | None = None
    origin: Origin = "missing"
    #: Which lines it is from or what it was computed from; what would be needed where it is missing.
    how: str = ""
    #: What the digits that were printed leave open.
    low: float | None = None
    high: float | None = None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A printed figure over the run: every ``every``-th of ``lines`` values. What is not finite is null in JSON."""

    unit: str
    step: list[float]
    #: What ``step`` counts.
    counted: Counted = "step"
    value: list[float]
    lines: int
    every: int
    #: Over all lines, of what is finite.
    mean: float
    low: float
    high: float
    #: Values that are NaN or infinite, and the step of the first of them.
    not_finite: int = 0
    first_not_finite: float | None = None
    #: Of how many values at the end none is finite.
    not_finite_at_end: int = 0


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A named part of a step in a timing log, with what is inside of it."""

    name: str
    #: Mean over ``lines``.
    seconds: float
    lines: int
    #: Share as it was printed the last time, 0 to 1, and the running mean.
    printed_share: float | None = None
    printed_mean: float | None = None
    children: list[Span] = []


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """A timing log: spans that do not overlap at each level. ``twice`` is what the printed total counts again."""

    roots: list[Span]
    #: Mean of the printed totals.
    total: float | None = None
    #: What of a step they are: the outermost spans, added up without counting anything twice.
    seen: float
    #: The span that holds others which stand beside it in the log, and why that is known.
    parent: str | None = None
    parent_known_by: str = ""
    #: Whether its name says that it is the forward pass.
    parent_is_forward: bool = False
    twice: float = 0.0
    blocks: int = 0


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """The last that the log says of a cache of samples."""

    hits: int | None = None
    misses: int | None = None
    #: 0 to 1.
    hit_rate: float | None = None
    items: int | None = None
    bytes: float | None = None
    limit: float | None = None
    preloaded: int | None = None


class WallStep(msgspec.Struct, frozen=True, kw_only=True):
    """One way to know how long a step takes."""

    seconds: float
    how: str
    #: Whether it counts everything that happens (a clock on the wall), or only what the training timed.
    wall: bool
    low: float | None = None
    high: float | None = None


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    #: The last step before it and the first after it.
    before: float
    after: float


class LogSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read, and what in it was understood."""

    name: str
    bytes: int
    lines: int
    #: Lines of each format.
    formats: dict[str, int]
    #: Lines that say again what was said: once per rank.
    repeated: int = 0
    notes: list[str] = []


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    sources: list[LogSource]
    #: The format that the step time is from.
    format: str | None
    batch_size: Figure
    world_size: Figure
    accumulation: Figure
    steps: Figure
    total_steps: Figure
    step_seconds: Figure
    throughput: Figure
    data_seconds: Figure
    data_time: DataTime | None
    #: What of that is in it, in a sentence.
    data_time_holds: str
    device_memory: Figure
    process_memory: Figure
    #: Mean step of the lines that the data time is in; None where they print no step time.
    mean_seconds: float | None = None
    #: Mean step by a clock on the wall over the whole log, with everything that happens between steps.
    wall_seconds: float | None = None
    #: Every way to know a step's time, the best first.
    step_times: list[WallStep] = []
    #: Parts of the step that the training timed, beside data: forward, backward, optimizer.
    parts: dict[str, float] = {}
    timing: Timing | None = None
    cache: CacheUse | None = None
    series: dict[str, Series] = {}
    restarts: list[Restart] = []
    evaluations: int = 0
    #: Warnings of the training about its own memory, each once.
    alarms: list[str] = []
    #: Batch size, GPU utilization (0 to 1) and samples/s of a search for the batch size.
    batch_search: list[tuple[int, float, float]] = []
    notes: list[str] = []


class LogDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a reading."""

    findings: list[Finding]
    will_not_help: list[WillNotHelp]
