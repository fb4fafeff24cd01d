"""What it takes of a step that the kernel hands memory out again."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.diagnose.thresholds import FAULTS_AT_MOST
from hotlap.records import Facts, ResidentPoint


def fault_seconds(facts: Facts, step_seconds: float, grown: float = 0.0) -> float | None:
    """Seconds that the page faults of the training thread take of a step, each as long as one was measured to take.

    ``grown``: page faults in a step for memory that the process had never had before and keeps.

    Threads that fetch memory side by side do so at the same time, so those of the others are not added. None where it
    is not known, where a GPU computes, or where another allocator is in use or this one keeps what is freed already.
    """
    if facts.steady_faults is None or facts.page_fault_seconds is None or facts.system_seconds is None:
        return None
    if facts.device not in (None, "cpu") or facts.allocator not in (None, "default"):
        return None
    seconds = max(0.0, facts.steady_faults - grown) * facts.page_fault_seconds
    # The kernel took no more than this for all that was asked of it.
    return min(seconds, facts.system_seconds, FAULTS_AT_MOST * step_seconds)


def growth_faults(points: Sequence[ResidentPoint], page: int = 4096) -> float:
    """Page faults in a step for what the process grows by, from the memory that it held at these moments."""
    warm = points[len(points) // 4 :]
    if len(warm) < 2 or warm[-1].i <= warm[0].i:
        return 0.0
    grown = (warm[-1].bytes - warm[-1].shared) - (warm[0].bytes - warm[0].shared)
    return max(0.0, grown / page / (warm[-1].i - warm[0].i))
