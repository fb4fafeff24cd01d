"""What the kernel's handing out of memory takes of a step."""

from __future__ import annotations

from hotlap.diagnose.thresholds import FAULTS_AT_MOST, HUGE_PAGE_FAULT_SECONDS, PAGE_FAULT_SECONDS
from hotlap.records import Facts


def fault_seconds(facts: Facts, step_seconds: float) -> float | None:
    """Processor time of the kernel in a step, as far as page faults may have caused it.

    If one thread of the step does all of it while the others wait, the step is shorter by as much without it; so it is
    the most that can be saved. None where it is not known, where a GPU computes, or where another allocator is in use
    or this one keeps what is freed already.
    """
    if facts.page_faults is None or facts.system_seconds is None:
        return None
    if facts.device not in (None, "cpu") or facts.allocator not in (None, "default"):
        return None
    each = HUGE_PAGE_FAULT_SECONDS if facts.huge_pages else PAGE_FAULT_SECONDS
    return min(facts.system_seconds, facts.page_faults * each, FAULTS_AT_MOST * step_seconds)
