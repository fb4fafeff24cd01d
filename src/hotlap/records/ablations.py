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
