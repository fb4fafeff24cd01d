"""How many workers can pay: one for each core where they compute, more where they mostly wait for storage."""

from __future__ import annotations

from hotlap.diagnose.thresholds import FETCH_WAITS, WAITING_WORKERS, WAITING_WORKERS_LEAST
from hotlap.records import Facts


def busy_share(facts: Facts) -> float | None:
    """The share of a fetch in which a worker is on a core or wants one, 0 to 1; None where it was not measured."""
    if not facts.fetch_seconds or facts.fetch_cpu_seconds is None:
        return None
    return min(1.0, (facts.fetch_cpu_seconds + (facts.fetch_queue_seconds or 0.0)) / facts.fetch_seconds)


def mostly_waits(facts: Facts) -> bool:
    busy = busy_share(facts)
    return busy is not None and 1 - busy >= FETCH_WAITS


def most_workers(facts: Facts, cores: int) -> int:
    """Workers that may be at work at once on so many cores, without taking turns."""
    busy = busy_share(facts)
    if busy is None or not mostly_waits(facts):
        return cores
    limit = max(WAITING_WORKERS_LEAST, WAITING_WORKERS * cores)
    return max(cores, min(limit, int(cores / busy) if busy > 0 else limit))
