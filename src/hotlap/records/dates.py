"""Dates as records have them."""

from __future__ import annotations

from datetime import datetime, timezone


def moment_of(date: str) -> datetime | None:
    """The moment that a date names, in UTC, which is meant where it names no zone; None where it is no date."""
    try:
        # Python 3.10 does not know the Z.
        moment = datetime.fromisoformat(date.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
