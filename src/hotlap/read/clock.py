"""The time that a logger puts before a line, and the rank that a launcher does."""

from __future__ import annotations

import re
from datetime import date

_STAMP = re.compile(rb"(?:(\d{4}|\d\d)[-/])?(\d\d)[-/](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?")
#: torchrun's ``[rank3]:``, ``[default3]:`` of its --tee, mpirun's ``[1,3]<stdout>:``, ``Rank 3:`` of many scripts.
_RANK = re.compile(rb"\[(?:rank|default|\d+,)\s?(\d+)\](?:<std\w+>)?:|\b[Rr]ank[ :=]+(\d+)\b")

_days: dict[bytes, int | None] = {}


def stamp(prefix: bytes) -> float | None:
    """Seconds at which the line was written, from some day on; None where the prefix says no time.

    A stamp without a year is taken for one of a leap year, so differences across its end are wrong (negative).
    """
    match = _STAMP.search(prefix)
    if match is None:
        return None
    year, month, day, hours, minutes, seconds, fraction = match.groups()
    key = prefix[match.start() : match.start(4)]
    if key not in _days:
        if len(_days) > 10_000:
            _days.clear()
        _days[key] = _ordinal(year, month, day)
    days = _days[key]
    if days is None:
        return None
    whole = days * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + float(b"0." + fraction) if fraction else float(whole)


def rank(prefix: bytes) -> int | None:
    match = _RANK.search(prefix)
    return None if match is None else int(match[1] or match[2])


def _ordinal(year: bytes | None, month: bytes, day: bytes) -> int | None:
    number = 2000 if year is None else int(year) + (2000 if len(year) == 2 else 0)
    try:
        return date(number, int(month), int(day)).toordinal()
    except ValueError:
        return None
