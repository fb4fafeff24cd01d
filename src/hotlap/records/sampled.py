"""Which lines of the script run while no mark of the probe says what happens."""

from __future__ import annotations

import msgspec


class SampledPhase(msgspec.Struct, frozen=True, kw_only=True):
    #: How often the training was seen in it, and seconds of a watched step (mean) that these samples stand for.
    samples: int
    seconds: float


class SampledLine(SampledPhase, frozen=True, kw_only=True):
    """One line of the training's own code, or of a library that runs its loop."""

    file: str
    line: int
    function: str
    #: What it calls or computes, as it is written there, e.g. "numpy.pad"; None where that is not known.
    called: str | None = None
    #: "other" or "loss".
    phase: str


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    #: How many steps were watched.
    steps: int
    phases: dict[str, SampledPhase]
    #: Those with the most seconds first.
    lines: list[SampledLine]
