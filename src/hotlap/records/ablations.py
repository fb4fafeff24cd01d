"""What a training takes when one thing is taken away from it: proof of a cause, and a bound for its remedies."""

from __future__ import annotations

import msgspec

from hotlap.records.effect import SCHEMA, Effect


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """One suspect, measured in blocks with and without it."""

    #: E.g. "data".
    name: str
    #: What is suspected, and how it is taken away.
    title: str
    how: str
    #: Codes of the findings that suspect it.
    findings: list[str] = []
    #: Seconds per step at stake by the profile.
    suspected: float = 0.0
    #: Throughput without it over throughput with it; None where it was not measured, and ``why`` says why.
    effect: Effect | None = None
    #: Seconds that a step takes with it, in the blocks that were measured.
    step_seconds: float | None = None
    #: By how much shorter a step is without it, and the ends of the interval; None for one that is not known.
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


class Ablations(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ablations.json`` in a run directory holds."""

    schema: int = SCHEMA
    #: Seconds that were allowed, and taken.
    budget: float
    spent: float
    #: In the order in which they were taken away; those that could not be are here too.
    tried: list[Ablation] = []
    not_tried: list[Ablation] = []
    #: Nothing taken away: what this machine calls a difference.
    control: Ablation | None = None
    warnings: list[str] = []


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a step that something costs, the ends of their interval, and the pairs they come from."""

    seconds: float
    low: float | None
    high: float | None
    n: int


class DataStalls(msgspec.Struct, frozen=True, kw_only=True):
    """The differential test of the data side: the training as it is, with samples at hand, with the batch at hand."""

    #: Seconds of a step as it is, and with the same batch again: what the rest of the loop takes by itself.
    step_seconds: float
    ceiling_seconds: float
    #: The difference: what workers, caches and formats could give together at most.
    stall: Saved
    #: With the first samples used again: what a cache of all could give at most. None where it was not measured.
    samples: Saved | None = None
    #: What is left of the stall then: collating, handing over, waiting for a worker.
    handing_over: Saved | None = None
