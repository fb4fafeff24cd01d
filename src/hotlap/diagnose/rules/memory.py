"""Memory that goes back and forth between the process and the kernel."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.faults import fault_share
from hotlap.diagnose.rules.base import Rule, part, percent
from hotlap.records import Finding


class PageFaults(Rule):
    code = "MEMORY01"
    title = "Freed memory goes back to the kernel, and every step fetches it again"
    meaning = (
        "The C library hands large blocks back to the kernel when tensors are freed. The next step asks for them "
        "again, and the kernel clears and maps them page by page: a page fault for each. Launches of the same training "
        "differ by it too, because the C library moves its thresholds by what it happens to see."
    )
    evidence_needed = (
        "Page faults in a step and the kernel's share of the processor time, both of the training process (getrusage), "
        "from the sixth step on."
    )
    remedy = (
        "Let the process keep what it frees: start it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1`, or with "
        "another allocator (jemalloc, TCMalloc) in `LD_PRELOAD`. In a configuration of `hotlap train`: "
        "`keep_freed_memory: true`."
    )
    limits = (
        "An estimate: the kernel's share of the processor time is taken for its share of the step. Other system calls "
        "are in it, and the caches that clearing pages costs are not, so more can be gained. Memory that is kept is "
        "not there for other programs; with shapes that change at every step the process may grow. glibc only, and "
        "not looked for where a GPU computes."
    )
    changes = ("allocator",)

    def check(self, context: Context) -> Finding | None:
        share = fault_share(context.facts, context.mean)
        if share is None:
            return None
        evidence = [
            f"{context.facts.page_faults:,.0f} page faults in a step.",
            f"The kernel takes {percent(context.facts.system_share or 0.0)} of the process's processor time.",
            f"That is about {part(context, share * context.mean)}.",
        ]
        return self.finding(context, share * context.mean, evidence)
