"""Where a training reads tensors in Python, which makes the host wait wherever a GPU computes them."""

from __future__ import annotations

import msgspec


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the training's own code, or of a library that it uses."""

    file: str
    line: int
    function: str
    #: As a script writes it, e.g. "item()".
    what: str
    #: Calls and seconds of a watched step (means). On a GPU the seconds are the wait for the device; on a CPU, where
    #: there is nothing to wait for, they are what the reading itself takes.
    count: float
    seconds: float
    #: In how many of the watched steps it was seen.
    seen: int


class Syncs(msgspec.Struct, frozen=True, kw_only=True):
    #: How many steps were watched.
    watched: int
    #: The costliest first.
    lines: list[Sync]
