"""Other Python threads in the process that trains."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, percent, time
from hotlap.diagnose.thresholds import LOCK_SHARE, LOCK_TURNS, LOCK_WAIT
from hotlap.records import BETWEEN, Finding

#: What the training thread waits for in these is another process, a disk or a network.
_WAITS = ("data_wait", "gradient_sync", *BETWEEN)
#: Where they never rest, all of the step may be theirs; what remains without them cannot be told from so little.
_AT_MOST = 0.99


class SharedLock(Rule):
    code = "HOST08"
    title = "Other Python threads of the process keep the training thread from running"
    meaning = (
        "Only one thread of a process runs Python at a time. Another one that computes in Python (parses, decodes, "
        "logs) holds the interpreter's lock for up to 5 ms at a time (`sys.getswitchinterval()`), and the training "
        "thread, which lets go of it in every operator of torch, waits that long to have it back. Where it also waits "
        "for what that thread makes, both are slow."
    )
    evidence_needed = (
        "Processor time by Python thread (`threading.enumerate()`, `/proc/self/task/*/schedstat`, Linux) of a tenth of "
        "the step or more; a training thread that neither runs nor waits for a core nor for the loader's workers for a "
        f"tenth of it; and {LOCK_WAIT * 1e3:.1f} ms or more until that thread has the lock back when the probe lets "
        "go of it, which it tries a few times where such a thread computes. Without that, both must be "
        f"{100 * LOCK_TURNS:.0f} % of the step: a try always comes at the same point of the step."
    )
    remedy = (
        "Do the work of those threads in processes: a `Dataset` behind a `DataLoader` with `num_workers`, or "
        "`multiprocessing`; or in library calls that let go of the lock (NumPy, torch, `pyarrow`) instead of Python "
        "loops."
    )
    limits = (
        "At stake is all the time in which the training thread was stopped or those threads wanted a core, without the "
        "wait for data, other ranks, validation and logs. What of it is the lock, what is waiting for what those "
        "threads make, and what the training thread would wait for anyway is not told apart. Processes need cores, "
        "too. Phases (the loss, `other`) look slow where the training thread is stopped in them."
    )

    def check(self, context: Context) -> Finding | None:
        use = context.facts.thread_use
        if use is None or use.lock_wait is None or context.device_bound:
            return None
        caught = use.lock_wait >= LOCK_WAIT
        waits = context.share(context.seconds(*_WAITS))
        stopped = 1 - (use.running + use.ready) / use.wall
        others = sum(each.running for each in use.python) / use.wall
        if min(stopped - waits, others) < (LOCK_SHARE if caught else LOCK_TURNS):
            return None
        wanting = sum(each.running + each.ready for each in use.python) / use.wall
        open_phases = [phase for phase in context.phases if phase not in _WAITS]
        share = min(_AT_MOST, stopped - waits + wanting)
        seconds = min(context.exposed(*open_phases), share * context.mean)
        evidence = [
            f"The training thread computes for {percent(use.running / use.wall)} of the step and waits for a core for "
            f"{percent(use.ready / use.wall)}; it is stopped for {percent(stopped)}.",
            *(f"Python thread `{each.name}` computes for {percent(each.running / use.wall)}." for each in use.python),
            f"It had the interpreter's lock back {time(use.lock_wait)} after it let go of it (longest of some tries)."
            if caught
            else "It was not caught waiting for the interpreter's lock: it may wait for what they make.",
            f"It was stopped, or they wanted a core, for {part(context, seconds)}.",
        ]
        return self.finding(context, seconds, evidence)
