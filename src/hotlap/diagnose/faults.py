"""What the kernel's handing out of memory takes of a step."""

from __future__ import annotations

from hotlap.diagnose.thresholds import PAGE_FAULT_SECONDS
from hotlap.records import Facts

_MOST_SHARE = 0.95


def fault_share(facts: Facts, step_seconds: float) -> float | None:
    """Share of a step that page faults take at most; None where it is not known, or where a GPU does the work.

    The kernel's share of the processor time is taken as its share of the step: the threads of a step wait for one
    another. Other system calls are in it too, so that it is no more than the faults themselves could take.
    """
    if facts.page_faults is None or facts.system_share is None or step_seconds <= 0:
        return None
    if facts.device not in (None, "cpu"):
        return None
    return min(facts.system_share, facts.page_faults * PAGE_FAULT_SECONDS / step_seconds, _MOST_SHARE)
