"""Memory that goes back and forth between the process and the kernel."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.faults import fault_seconds, growth_faults
from hotlap.diagnose.rules.base import Rule, number, part
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
        "Page faults of the training thread (getrusage) that three quarters of the steps have at the least, from the "
        "sixth step on and without the steps that hotlap watches, times what a page fault is measured to take on this "
        "machine: fetching a page and handing it back, against writing to one that is there."
    )
    remedy = (
        "Let the process keep what it frees: start it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1`, or with "
        "another allocator (jemalloc, TCMalloc) in `LD_PRELOAD`. In a configuration of `hotlap train`: "
        "`keep_freed_memory: true`."
    )
    limits = (
        "A page fault was measured where nothing else asked for memory: threads that ask at the same time wait for one "
        "another, and what clearing pages costs the caches is not in it. What the process grows by "
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
        faults, each = context.facts.steady_faults or 0.0, context.facts.page_fault_seconds or 0.0
        evidence = [
            f"{faults:,.0f} page faults of the training thread in most steps, {context.facts.page_faults or 0.0:,.0f} "
            "of all threads on average.",
            f"One takes {number(each * 1e6, 2)} µs on this machine: {part(context, seconds)}.",
        ]
        return self.finding(context, seconds, evidence, least=FAULTS_SHARE)
