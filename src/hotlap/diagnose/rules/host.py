"""What keeps the host from its work: waiting for the device, garbage, small operations, cores and threads."""

from __future__ import annotations

import msgspec

from hotlap.diagnose.context import Context
from hotlap.diagnose.fetching import busy_share
from hotlap.diagnose.rules.base import Rule, number, part, plural, time
from hotlap.diagnose.rules.data import decoded_again
from hotlap.diagnose.thresholds import (
    COMPUTE_SHARE,
    COUNTED_BATCH,
    CROWDED,
    DISPATCH_CPU,
    DISPATCH_CUDA,
    DISPATCH_FADE,
    GC_SHARE,
    IDLE_CORES,
    LARGE_CALL,
    OVERSUBSCRIBED,
    QUEUE_SHARE,
    SMALL_BATCH,
    SYNC_STEPS,
    THREADS_SHARE,
)
from hotlap.records import Finding, Sync

#: On a CPU these compute what the script wants to know, and the last two belong to what prints; the rest is reading.
_COMPUTING = frozenset(
    {"nonzero()", "argwhere()", "unique()", "masked_select()", "equal()", "allclose()", "x[mask]", "x[mask] = y"}
    | {"str()", "format()"}
)
_ON_CPU = "Compute with whole tensors, and read all values in one go (`tolist()`) every N steps."
#: Lines that are named in the evidence.
_NAMED = 3


class Syncs(Rule):
    code = "HOST01"
    title = "The training loop reads values from the device, and waits for them"
    meaning = (
        "A GPU works behind the Python code that feeds it. Where Python reads a value (`loss.item()`, `print(loss)`, "
        "`if loss > x`, `tensor.cpu()`), it waits until the device has computed it. Then the device waits in its turn "
        "until Python has sent it new work."
    )
    evidence_needed = (
        "Calls and seconds of the methods of `torch.Tensor` that read in Python, and of `synchronize()`, by line of "
        "the script, in single steps that are watched. Lines that most of the watched steps came by count, from the "
        "second watched step on."
    )
    remedy = (
        "Keep values on the device (`running += loss.detach()`) and read them every N steps, all in one go. Choose "
        "with `torch.where` or a product instead of `if` and `x[mask]`. Copy with `non_blocking=True`."
    )
    limits = (
        "On a GPU the bound takes the host's and the device's work to overlap in full without the reads, so it is the "
        "smaller one of the wait and of the rest of the step. On a CPU nothing is waited for, and only what the calls "
        "themselves take is at stake; the Python code around them is `other`. Reads in C++, and functions such as "
        "`torch.nonzero(x)` that are not called as methods, are not seen; nor are tensor subclasses."
    )
    changes = ("log_every",)

    def check(self, context: Context) -> Finding | None:
        syncs = context.run.syncs
        if syncs is None or syncs.watched < SYNC_STEPS:
            return None
        lines = [
            line
            for line in syncs.lines
            if 2 * line.seen > syncs.watched and (context.on_cuda or line.what not in _COMPUTING)
        ]
        spent = sum(line.seconds for line in lines)
        at_stake = min(spent, max(0.0, context.mean - spent)) if context.on_cuda else spent
        what = "Python waits for the device" if context.on_cuda else "Reading tensors takes Python"
        evidence = [f"{what} for {part(context, spent)}." if context.on_cuda else f"{what} {part(context, spent)}."]
        evidence += [where(line, context.run.info.cwd) for line in lines[:_NAMED]]
        if context.on_cuda:
            return self.finding(context, at_stake, evidence)
        finding = self.finding(context, at_stake, evidence, remedy=_ON_CPU)
        return finding and msgspec.structs.replace(finding, title="Reading values out of tensors takes time")


def where(line: Sync, cwd: str) -> str:
    file = line.file.removeprefix(cwd.rstrip("/") + "/")
    return (
        f"{file}:{line.line}, in {line.function}: {line.what}, {number(line.count)} times a step, {time(line.seconds)}."
    )


class Garbage(Rule):
    code = "HOST02"
    title = "Python's garbage collector takes a noticeable part of the step"
    meaning = (
        "The script makes many objects, or objects that refer to one another in cycles. Python then looks through what "
        "is alive again and again, in the middle of a step."
    )
    evidence_needed = "Seconds and number of the collections in the training thread (`gc.callbacks`), per step."
    remedy = (
        "Call `gc.freeze()` after the set-up, so that what lives for long is not looked through; raise "
        "`gc.set_threshold`, or call `gc.disable()` and collect every N steps. Best of all, find what makes the "
        "cycles or the many objects (lists of dictionaries, autograd graphs kept in attributes)."
    )
    limits = (
        "Collections in other threads and in loader workers are not counted. What is collected more rarely is freed "
        "later: memory of tensors in cycles grows meanwhile. The probe's own allocations bring some collections "
        "forward; those that run in its code are left out."
    )
    changes = ("garbage",)

    def check(self, context: Context) -> Finding | None:
        seconds, count = context.facts.gc_seconds, context.facts.gc_collections
        # A compiler makes far more garbage than any step, and its seconds are COMPILE01's.
        compiles = any(number >= context.steady_from for number in context.compiled)
        if seconds is None or not count or compiles:
            return None
        evidence = [
            f"Collecting garbage takes {part(context, seconds)}.",
            f"{number(count)} collections a step, of {time(seconds / count)} each on average.",
        ]
        if context.facts.gc_full:
            evidence.append(
                f"A full one, of all objects that are alive, every {number(1 / context.facts.gc_full)} steps."
            )
        return self.finding(context, seconds, evidence, least=GC_SHARE)


class SmallBatch(Rule):
    code = "HOST03"
    title = "The batch is so small that calling the layers costs as much as computing them"
    meaning = (
        "Each layer call is so short that Python and the dispatch of its operators are most of it. A larger batch "
        "would make the same calls and take hardly longer."
    )
    evidence_needed = (
        f"A batch of at most {SMALL_BATCH} samples without accumulation, and the forward seconds of a step divided by "
        "its module calls: below about 60 µs on a CPU or 100 µs on a CUDA device a call is mostly dispatch."
    )
    remedy = (
        "Use a larger batch, with the learning rate that goes with it: this is another training. Where the batch must "
        "stay, `torch.compile` (on a GPU with `mode='reduce-overhead'`) takes away part of the calls' cost."
    )
    limits = (
        f"The bound supposes a batch of {COUNTED_BATCH} samples that takes as long as the present one. How large a "
        "batch the training's quality allows is for its owner to say. The batch is the first dimension of what the "
        "loader hands over. Module calls count containers too."
    )
    changes = ("compile", "effective_batch")

    def check(self, context: Context) -> Finding | None:
        facts, forward = context.facts, context.seconds("forward")
        calls, batch = facts.module_calls, facts.batch_size
        if any(each.code == "HOST09" for each in context.found):
            return None  # the same calls, with a nearer remedy
        if not calls or not batch or batch > SMALL_BATCH or context.micro_batches > 1 or facts.compiled or not forward:
            return None
        size = DISPATCH_CUDA if context.on_cuda else DISPATCH_CPU
        weight = min(1.0, (DISPATCH_FADE * size - forward / calls) / ((DISPATCH_FADE - 1) * size))
        # The loss may be slow for reasons of its own, and backward by as much.
        loss = context.seconds("loss")
        backward = context.seconds("backward", "recompute") * forward / (forward + loss)
        once = forward + backward + context.seconds("gradient_clip", "optimizer")
        evidence = [
            f"The batch is {plural(batch, 'sample')}.",
            f"A module call takes {time(forward / calls)} of forward on average ({calls} calls a step).",
            f"What a larger batch would take once for all its samples is {part(context, once)}.",
        ]
        return self.finding(context, once * max(0.0, weight) * (1 - batch / COUNTED_BATCH), evidence)


def _cores_in_use(context: Context) -> float | None:
    """Cores that all ranks and their loader workers keep busy on average."""
    facts = context.facts
    if facts.cpu_seconds is None or context.mean <= 0:
        return None
    busy = busy_share(facts)
    fetch = (facts.fetch_seconds or 0.0) * (1.0 if busy is None else busy)
    fetching = fetch * context.micro_batches if facts.workers else 0.0
    used = facts.cpu_seconds / (facts.counted_seconds or context.mean) + fetching / context.mean
    return used * max(1, facts.world_size)


def _wanted(context: Context) -> int:
    """Threads of all ranks and their loader workers, but for those that sleep, that may want a core at once."""
    facts, busy = context.facts, busy_share(context.facts)
    workers = (facts.workers or 0) * (1.0 if busy is None else busy)
    return ((facts.threads or 1) + round(workers)) * max(1, facts.world_size)


def _crowds_itself(context: Context) -> bool:
    cores, used = context.run.info.environment.cores, _cores_in_use(context)
    return used is not None and used >= CROWDED * cores and _wanted(context) > cores


def _oversubscribed(context: Context) -> bool:
    """Whether torch computes with more threads than cores, and they were seen to want more than there are."""
    use, threads = context.facts.thread_use, context.facts.threads or 1
    if use is None or context.on_cuda or threads <= context.cores:
        return False
    return use.wanting > OVERSUBSCRIBED * context.cores and context.share(_arithmetic(context)) > COMPUTE_SHARE


def _arithmetic(context: Context) -> float:
    """Seconds of the phases in which torch's threads compute together."""
    return context.compute + context.seconds("loss", "gradient_clip", "optimizer")


def _own_threads(context: Context) -> bool:
    """Whether the process's own threads are enough to wait for one another: what else runs is not to blame."""
    use = context.facts.thread_use
    return use is not None and (use.at_work > context.cores or use.wanting > OVERSUBSCRIBED * context.cores)


def _queueing(context: Context) -> list[str]:
    facts = context.facts
    evidence = [
        f"The training thread is ready to run but without a core for {part(context, context.queue_seconds or 0.0)}."
    ]
    if facts.involuntary_switches is not None:
        evidence.append(f"A core is taken from it {number(facts.involuntary_switches, 2)} times a step.")
    return evidence


class Crowded(Rule):
    code = "HOST04"
    title = "The training's own threads and workers are more than the cores, and the loop waits for a core"
    meaning = (
        "Torch's threads, those of the other ranks on this machine and the loader workers want more cores than there "
        "are. They take turns, and the thread that trains waits for its own. Threads that compute one operator "
        "together also wait for one another, until the last of them has had its turn."
    )
    evidence_needed = (
        "More threads of torch and workers than cores, and either seconds on the run queue of the training thread "
        "(`/proc/self/task/*/schedstat`, Linux) on a machine that they keep busy by their processor time; or more "
        "threads of torch alone than cores, a quarter more threads of the process at work or on the run queue than "
        "there are cores, and arithmetic of over 60 % of the step."
    )
    remedy = (
        "Give torch fewer threads (`OMP_NUM_THREADS` or `torch.set_num_threads`: cores / ranks - workers), or use "
        "fewer workers."
    )
    limits = (
        "Where torch's threads alone are too many, all of the arithmetic is at stake: what waiting for one another and "
        "taking turns cost inside of it cannot be told apart, and the arithmetic itself stays. Else only the wait of "
        "the training thread is: that torch's threads wait for one another, too, is not in it. Where data must be "
        "fetched on the same cores, part of the wait cannot be had."
    )
    changes = ("threads", "workers")

    def check(self, context: Context) -> Finding | None:
        seconds, facts, use = context.queue_seconds, context.facts, context.facts.thread_use
        counted = (
            f"{plural(facts.threads or 1, 'thread')} of torch and {plural(facts.workers or 0, 'worker')}"
            + (f" in each of {facts.world_size} ranks" if facts.world_size > 1 else "")
            + f", on {plural(context.run.info.environment.cores, 'core')}."
        )
        if use is not None and _oversubscribed(context):
            at_stake = _arithmetic(context)
            evidence = [
                counted,
                f"On average {use.wanting:.2g} threads of the process want a core at once.",
                *_queueing(context),
                f"They share the arithmetic of {part(context, at_stake)}, and how much of it is waiting for one "
                "another cannot be told: all of it is counted, though the arithmetic itself stays.",
            ]
            remedy = (
                f"Give torch at most {plural(context.cores, 'thread')}: `torch.set_num_threads({context.cores})`, or "
                f"`OMP_NUM_THREADS={context.cores}`."
            )
            return self.finding(context, at_stake, evidence, remedy=remedy)
        if seconds is None or not _crowds_itself(context):
            return None
        remedy, changes = self.remedy, list(self.changes)
        if facts.workers and decoded_again(facts):
            remedy += " Or let the workers compute less: keep what they have decoded in memory (`cache_decoded`)."
            changes.append("cache_decoded")
        evidence = [*_queueing(context), counted]
        return self.finding(context, seconds, evidence, least=QUEUE_SHARE, remedy=remedy, changes=changes)


class FewThreads(Rule):
    code = "HOST05"
    title = "Torch computes with fewer threads than there are free cores"
    meaning = "The model's arithmetic takes most of the step, on a few threads, while other cores have nothing to do."
    evidence_needed = (
        "Torch's threads against the cores of this process, and how many of the machine's cores idled meanwhile; "
        "forward and backward of over 60 % of the step; module calls long enough (0.5 ms) to be shared among threads."
    )
    remedy = (
        "Let torch use the cores: set `OMP_NUM_THREADS` or call `torch.set_num_threads` with their number. (torchrun "
        "sets it to 1 where it is not set.) Sums are then added in another order, so losses agree up to rounding."
    )
    limits = (
        "The bound supposes that the arithmetic shares out without loss, which it never does: memory is shared, and "
        "two hyper-threads are one core, so these count as one. Named up to half of the cores. Which cores "
        "idle is known of the machine, not of the part of it that a container may use."
    )
    changes = ("threads",)

    def check(self, context: Context) -> Finding | None:
        facts, threads = context.facts, context.facts.threads
        forward, calls = context.seconds("forward"), facts.module_calls
        if not threads or not calls or facts.device != "cpu" or forward / calls < LARGE_CALL:
            return None
        if (
            context.share(context.compute) <= COMPUTE_SHARE
            or (context.queue_seconds or 0.0) > QUEUE_SHARE * context.mean
        ):
            return None
        # Threads of the script's own may compute beside torch's.
        busy = max(threads, (facts.cpu_seconds or 0.0) / context.mean)
        idle = min((facts.idle_cores or 0.0) / max(1, facts.world_size), context.physical_cores - busy)
        if idle < IDLE_CORES * busy:
            return None
        free = busy + idle
        evidence = [
            f"Torch has {plural(threads, 'thread')} on {plural(context.cores, 'core')}; {idle:.1f} of them were idle.",
            f"Forward and backward take {part(context, context.compute)}.",
            f"A module call takes {time(forward / calls)} of forward on average.",
        ]
        return self.finding(context, context.compute * (1 - busy / free), evidence, least=THREADS_SHARE)


class Neighbours(Rule):
    code = "HOST06"
    title = "Other programs take the cores from the training"
    meaning = "The training thread waits for a core although the training itself does not fill the machine."
    evidence_needed = (
        "Seconds on the run queue of the training thread (`/proc/self/task/*/schedstat`, Linux): a tenth of the step "
        "or more, while the training's own processor time leaves cores free or its threads do not outnumber them, and "
        "no more of its threads are at work than there are cores."
    )
    remedy = "End or move what else runs on this machine, or give the training cores of its own, and measure again."
    limits = (
        "Which programs they are is not looked at. A quota on processor time (a container's) looks the same. All "
        "figures of this profile hold for a machine that is shared like this."
    )
    information = True

    def check(self, context: Context) -> Finding | None:
        seconds = context.queue_seconds
        if seconds is None or context.share(seconds) < QUEUE_SHARE:
            return None
        if _crowds_itself(context) or _own_threads(context) or any(each.code == "HOST08" for each in context.found):
            return None
        evidence = _queueing(context)
        used, environment = _cores_in_use(context), context.run.info.environment
        if used is not None:
            evidence.append(f"The training keeps {number(used, 2)} of {plural(environment.cores, 'core')} busy.")
        if environment.load is not None:
            evidence.append(f"When the run began the machine had a load of {environment.load:.1f}.")
        return self.finding(context, seconds, evidence)
