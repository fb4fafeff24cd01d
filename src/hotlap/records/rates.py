"""How fast a device is at each kind of operator: measured, or a card's listed rates and what is reached of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA

#: How a number is known.
Known = Literal["measured", "derived", "estimated"]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """FLOP/s by the width of a product, a convolution or a head; bytes a second by the bytes of a call for all else."""

    kind: str
    dtype: str
    #: Rising; between two of them the rate is in between, beyond the last it stays.
    points: list[tuple[float, float]]


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    table: list[Rate]
    #: Seconds of a call beside what it computes: Python, dispatch, autograd.
    overhead: float
    #: Seconds between two kernels on the device, whose host runs ahead; None: the host computes itself.
    gap: float | None = None
    #: What a real step takes of computing, moving and calls, over what single operators took: fitted.
    factors: dict[str, float] = {}


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What ``hotlap estimate --calibrate`` keeps."""

    schema: int = SCHEMA
    cpu: str
    threads: int
    torch: str
    date: str
    #: That measuring took.
    seconds: float
    #: Share of the minute before in which something waited for a core; None where the kernel does not tell.
    pressure: float | None = None
    rates: Rates
