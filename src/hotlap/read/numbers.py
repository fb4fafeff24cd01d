"""Numbers as logs print them. What is not certainly the number that was printed is no number: ``0,5`` or ``9.8e-``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import cast

#: What may be a number; ``number`` says whether it is one.
LOOSE = rb"(?:[-+]?\d[\d.eE+-]*|[-+]?(?:nan|NaN|NAN|inf|Infinity))"
#: With commas between thousands.
COUNT = rb"\d[\d,]*"
#: ``1:33:59``, ``2 days, 1:33:59``.
DURATION = rb"(?:\d+ days?, )?\d+(?::\d\d){1,2}"

_THOUSANDS = re.compile(rb"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

#: What a figure is multiplied with to be in seconds, bytes, or a share.
UNITS = {
    "s": 1.0,
    "ms": 1e-3,
    "min": 60.0,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "percent": 0.01,
}


def number(text: bytes) -> float | None:
    """Return the number, or None where it is not certain what was printed."""
    if text == b"null":
        # So JSON has NaN and infinity.
        return math.nan
    if b"," in text:
        return float(text.replace(b",", b"")) if _THOUSANDS.fullmatch(text) else None
    try:
        return float(text)
    except ValueError:
        return None


def numbers(column: Sequence[bytes | None]) -> list[float | None]:
    """What ``number`` says of each, or None where nothing was printed."""
    try:
        if None in column:
            return [None if each is None else float(each) for each in column]
        return list(map(float, cast("Sequence[bytes]", column)))
    except ValueError:
        return [None if each is None else number(each) for each in column]


def count(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return int(text.replace(b",", b"")) if _THOUSANDS.fullmatch(text) else None


def duration(text: bytes) -> float | None:
    """Seconds of ``H:MM:SS``, ``MM:SS`` or ``D days, H:MM:SS``."""
    days, _, clock = text.rpartition(b", ")
    try:
        seconds = 0
        for part in clock.split(b":"):
            seconds = seconds * 60 + int(part)
        return float(seconds + (86400 * int(days.split()[0]) if days else 0))
    except (ValueError, IndexError):
        return None


def decimals(text: bytes) -> int:
    """Digits behind the point. With an exponent they are not known, and count as none."""
    _, point, behind = text.partition(b".")
    return len(behind) if point and behind.isdigit() else 0


def reader(unit: str) -> Callable[[bytes], float | None]:
    """How a column of this unit is read."""
    return duration if unit == "duration" else number
