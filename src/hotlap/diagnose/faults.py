"""What the kernel's handing out of memory takes of a step."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.diagnose.thresholds import FAULTS_AT_MOST, HUGE_PAGE_FAULT_SECONDS, PAGE_FAULT_SECONDS
from hotlap.records import Facts, ResidentPoint


def fault_seconds(facts: Facts, step_seconds: float, grown: float = 0.0) -> float | None:
    """Processor time of the kernel in a step, as far as page faults may have caused it.

    ``grown``: page faults in a step for memory that the process had never had before and keeps.

    If one thread of the step does all of it while the others wait, the step is shorter by as much without it; so it is
    the most that can be saved. None where it is not known, where a GPU computes, or where another allocator is in use
    or this one keeps what is freed already.
    """
    if facts.page_faults is None or facts.system_seconds is None:
        return None
    if facts.device not in (None, "cpu") or facts.allocator not in (None, "default"):
        return None
    each = HUGE_PAGE_FAULT_SECONDS if facts.huge_pages else PAGE_FAULT_SECONDS
    again = max(0.0, facts.page_faults - grown)
    share = again / facts.page_faults if facts.page_faults else 0.0
    return min(share * facts.system_seconds, again * each, FAULTS_AT_MOST * step_seconds)


def growth_faults(points: Sequence[ResidentPoint], page: int = 4096) -> float:
    """Page faults in a step for what the process grows by, from the memory that it held at these moments."""
    warm = points[len(points) // 4 :]
    if len(warm) < 2 or warm[-1].i <= warm[0].i:
        return 0.0
    grown = (warm[-1].bytes - warm[-1].shared) - (warm[0].bytes - warm[0].shared)
    return max(0.0, grown / page / (warm[-1].i - warm[0].i))
