"""What every other record needs: the number of the schema, and a measured effect."""

from __future__ import annotations

import msgspec

SCHEMA = 1


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """B's throughput divided by A's: the median of the pairs, with an interval."""

    ratio: float
    low: float
    high: float
    #: How many pairs.
    n: int
    #: Coverage of the interval, e.g. 0.99.
    confidence: float
    pairs: list[float]
