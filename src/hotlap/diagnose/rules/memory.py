"""Memory that goes back and forth between the process and the kernel."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.faults import fault_seconds, growth_faults
from hotlap.diagnose.rules.base import Rule, time
from hotlap.diagnose.thresholds import FAULTS_SHARE
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
        "Page faults and processor time of the kernel in a step, both of the training process (getrusage), from the "
        "sixth step on."
    )
    remedy = (
        "Let the process keep what it frees: start it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1`, or with "
        "another allocator (jemalloc, TCMalloc) in `LD_PRELOAD`. In a configuration of `hotlap train`: "
        "`keep_freed_memory: true`."
    )
    limits = (
        "The bound takes all of the kernel's time to be saved, as if one thread spent it while the others wait; where "
        "they share it, less is. What clearing pages costs the caches is not in it. What the process grows by "
        "is left out. Faults also come from batches that workers hand over in shared memory, files that are mapped, "
        "memory shared with a process that forked, and "
        "validation. Memory that is kept is not there for other programs; with shapes that change at every step the "
        "process may grow. In threads other than the first one, blocks of more than 64 MiB still go back. glibc only, "
        "and not looked for where a GPU computes or another allocator is preloaded."
    )
    changes = ("allocator",)

    def check(self, context: Context) -> Finding | None:
        seconds = fault_seconds(context.facts, context.mean, growth_faults(context.run.memory.points))
        if seconds is None:
            return None
        evidence = [
            f"{context.facts.page_faults:,.0f} page faults in a step.",
            f"By the kernel's processor time they take at most {time(seconds)} of a step of {time(context.mean)}.",
        ]
        return self.finding(context, seconds, evidence, least=FAULTS_SHARE)
