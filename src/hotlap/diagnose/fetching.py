"""What fetching a batch spends its time on, and how many workers can pay.

One for each core where they compute, more where they mostly wait for storage.
"""

from __future__ import annotations

from typing import Literal

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


def slow_part(facts: Facts) -> Literal["storage", "samples", "collate"] | None:
    """What takes most of a fetch: waiting for samples, computing them, or putting them together. None where unknown."""
    busy, samples, collate = busy_share(facts), facts.fetch_samples_seconds, facts.fetch_collate_seconds
    if samples is None or collate is None:
        return "storage" if mostly_waits(facts) else None
    if collate > samples:
        return "collate"
    if busy is None:
        return None
    waiting = min(samples, (1 - busy) * (samples + collate))
    return "storage" if waiting > max(samples - waiting, collate) else "samples"


def most_workers(facts: Facts, cores: int) -> int:
    """Workers that may be at work at once on so many cores, without taking turns."""
    busy = busy_share(facts)
    if busy is None or not mostly_waits(facts):
        return cores
    limit = max(WAITING_WORKERS_LEAST, WAITING_WORKERS * cores)
    return max(cores, min(limit, int(cores / busy) if busy > 0 else limit))
