"""Memory that will end the training: it grows, or it is nearly full. No time is at stake, so these are warnings."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.memory import (
    device_growth,
    graphs_go_with_inputs,
    grown_between,
    growth,
    held,
    of,
    private,
    retained,
    room,
    workers,
)
from hotlap.diagnose.rules.base import Rule, number, percent, plural, size, time
from hotlap.diagnose.thresholds import GROWTH_HORIZON, GROWTH_LEAST, GROWTH_SHARE, NEARLY_FULL, SWAP_FAULTS, SWAPPED
from hotlap.records import Finding, Growth

_UNMEASURED = "How much of that the graphs hold was not measured."


class RetainedGraphs(Rule):
    code = "MEMORY02"
    title = "The graphs of past steps are kept, and there are more of them after every step"
    meaning = (
        "Something of every step that still has its autograd graph is kept by the script: `losses.append(loss)`, "
        "`total += loss`, an output in a list of metrics. With it stays the whole chain that computed it, and where "
        "backward has not run, every activation."
    )
    evidence_needed = (
        "Tensors with a graph, and the nodes of these graphs, counted between two steps at least three times over 30 "
        "steps or more, and growing evenly; over 8 steps where the memory grows, too."
    )
    remedy = (
        "Keep the number, not the tensor: `losses.append(loss.item())`, or `loss.detach()` where reading it would wait "
        "for a GPU."
    )
    limits = (
        "Graphs are counted again only after a step has left more of them than were there before it, or where memory "
        "grows quickly. What is kept for an epoch and dropped at its end looks the same until then. Only what Python's "
        "own tensors reach is counted, and not how many bytes it holds."
    )
    risk = True

    def check(self, context: Context) -> Finding | None:
        found = retained(context)
        if found is None:
            return None
        kept = plural(found.nodes, "graph node")
        if found.tensors >= 0.5:
            kept = f"{plural(found.tensors, 'tensor')} with a graph and {kept}"
        evidence = [f"Between step {found.start} and step {found.end} every step left {kept} behind."]
        grown = growth(context)
        if grown is None or grown.with_inputs:
            evidence.append(_moved(context, found.start, found.end))
            return self.warning("it keeps something of every step, without an end", evidence)
        evidence.append(f"{_grows('The training process', grown)} {_UNMEASURED}")
        return self.warning(_until(context, grown), evidence)


class GrowingMemory(Rule):
    code = "MEMORY03"
    title = "The training takes more memory with every step"
    meaning = "Something is kept of every step. When the memory is full, the training ends, perhaps after days."
    evidence_needed = (
        "Memory of the training process (resident, without what it shares with files and other processes) and of the "
        "GPU over the steps after warm-up: each of four parts must grow, none at less than half the pace of the whole."
    )
    remedy = (
        "Look for what is appended to in every step: lists of outputs or metrics, caches without a limit, hooks, "
        "pictures for a log. `tracemalloc` finds Python's objects, `torch.cuda.memory._record_memory_history()` "
        "tensors of a GPU."
    )
    limits = (
        "A cache that fills looks the same until it is full. Growth that would fill the memory only after a month of "
        "training is not reported, nor what takes less than 2 kB a step, as a history of numbers does, nor what goes "
        "with inputs that grow over the run."
    )
    risk = True

    def check(self, context: Context) -> Finding | None:
        if any(finding.code == RetainedGraphs.code for finding in context.found):
            return None
        for who, found in (("The GPU's memory", device_growth(context)), ("The training process", growth(context))):
            if (
                found is None
                or found.with_inputs
                or found.steps_left is None
                or found.steps_left * context.mean > GROWTH_HORIZON
            ):
                continue
            evidence = [_grows(who, found)]
            remedy = self.remedy
            counts = context.run.memory.graphs
            if len(counts) > 1:
                evidence.append(_counted(context))
                if counts[-1].nodes > counts[0].nodes and not graphs_go_with_inputs(context):
                    remedy = f"First see whether a loss or an output is kept with its graph. {remedy}"
            return self.warning(_until(context, found), evidence, remedy=remedy)
        return None


class GrowingWorkers(Rule):
    code = "MEMORY04"
    title = "The loader's workers take more and more memory"
    meaning = (
        "A worker begins with the pages of the training process and shares them until one of both writes to them. "
        "Reading a Python object writes to it too (its count of references), so a data set of many Python objects is "
        "copied page by page into every worker. Or the worker keeps something of every sample."
    )
    evidence_needed = (
        "Private and mapped memory of all workers over time (`smaps_rollup`, seen from outside). Only growth that "
        "would fill the memory is reported: copying ends when all that is mapped is private."
    )
    remedy = (
        "Keep the samples in arrays or tensors, not in lists and dictionaries of Python objects: numpy arrays of paths "
        "and numbers, Arrow or a file. Fewer workers copy less. Where what is mapped grows too, look for a cache in "
        "the data set."
    )
    limits = "A worker that is started again at every epoch begins anew; only those that live on are followed."
    risk = True

    def check(self, context: Context) -> Finding | None:
        found, free = workers(context), room(context)
        if found is None or free is None:
            return None
        if (found.copied and found.left < free) or free / found.trend.slope > GROWTH_HORIZON:
            return None
        seconds = found.trend.end - found.trend.start
        evidence = [
            f"Their private memory grew by {size(found.trend.amount)} in {time(seconds)}, "
            f"{size(found.trend.slope * 60)} a minute.",
            f"What they have mapped stayed: they copy what they shared, {size(found.left)} more is to come."
            if found.copied
            else "What they have mapped grew with it: they keep something.",
        ]
        return self.warning(f"out of memory in about {time(max(0.0, free) / found.trend.slope)}", evidence)


class NearLimit(Rule):
    code = "MEMORY05"
    title = "The memory is nearly full"
    meaning = (
        "A longer sample, a validation or another program can end the training. Where there is swap, pages are written "
        "to a disk and read back instead, which can make steps slower by far."
    )
    evidence_needed = (
        "Memory of all processes of the training that no file backs, shared pages counted once, against what this "
        "machine or container has; what of it is in swap."
    )
    remedy = "Take smaller micro-batches, fewer workers or a lower prefetch factor, or keep less of the data in memory."
    limits = "What other programs on this machine take is not counted. Linux only, from kernel 5.4 on."
    changes = ("micro_batch", "workers", "checkpointing", "optimizer_8bit")
    risk = True

    def check(self, context: Context) -> Finding | None:
        limit = context.run.info.environment.memory
        seen = [(used, sample) for sample in context.run.memory.samples if (used := held(sample)) is not None]
        if limit is None or not seen:
            return None
        used, fullest = max(seen, key=lambda each: each[0])
        swap = max(sum(process.swap for process in sample.processes) for _, sample in seen)
        swapped = swap >= SWAPPED and (context.facts.major_faults or 0.0) >= SWAP_FAULTS
        if used < NEARLY_FULL * limit and not swapped:
            return None
        count = len(of(fullest, "worker"))
        evidence = [
            f"The training and its {plural(count, 'worker')} hold {size(used)} of {size(limit)} "
            f"({percent(used / limit)})."
        ]
        if swap:
            evidence.append(f"{size(swap)} of it were in swap.")
        if context.facts.major_faults:
            evidence.append(f"{number(context.facts.major_faults, 2)} page faults a step had to read from a disk.")
        return self.warning("memory is in swap" if swapped else f"only {size(max(0, limit - used))} are left", evidence)


class AllocatorRetries(Rule):
    code = "MEMORY06"
    title = "The GPU's memory is so full that the allocator has to start over"
    meaning = (
        "A tensor did not fit, so torch gave all its cached blocks back to the driver and asked again. That waits for "
        "the GPU, and every block has to be had anew. The next time it may not fit at all."
    )
    evidence_needed = (
        "The allocator's count of retries (`torch.cuda.memory_stats`), at least one of them between two looked-at "
        "steps: those of the first steps, when kernels are chosen, are not counted."
    )
    remedy = (
        "Take smaller micro-batches or checkpoint activations. Where much of the cache lies idle in split blocks, "
        "start with `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`."
    )
    limits = "Time lost is not measured. Other allocators than torch's own do not count retries."
    risk = True

    def check(self, context: Context) -> Finding | None:
        account = context.run.memory.account
        if account is None or account.retries is None or account.first_retries is None or account.first_step is None:
            return None
        retries, steps = account.retries - account.first_retries, account.step - account.first_step
        if retries < 1 or steps < 1:
            return None
        again = "once" if retries == 1 else f"{retries:,} times"
        evidence = [f"It started over {again} between step {account.first_step} and step {account.step}."]
        if account.reserved and account.total:
            evidence.append(f"torch holds {size(account.reserved)} of the GPU's {size(account.total)}.")
        if account.inactive_split:
            evidence.append(f"{size(account.inactive_split)} of it lie idle in blocks that are split.")
        return self.warning("a tensor may not fit the next time", evidence)


def _counted(context: Context) -> str:
    """What was counted of graphs, and no more than that."""
    counts = context.run.memory.graphs
    first, last = counts[0], counts[-1]
    seen = (
        f"Autograd graphs that were alive between two steps were counted {plural(len(counts), 'time')}, from step "
        f"{first.i} to step {last.i}: "
    )
    if graphs_go_with_inputs(context):
        return f"{seen}at the end there were no more of them than larger inputs make."
    if last.nodes > first.nodes:
        more = plural(last.nodes - first.nodes, "node")
        return f"{seen}{more} more at the end, too little to tell whether they are the cause."
    return f"{seen}there were not more of them at the end."


def _moved(context: Context, start: int, end: int) -> str:
    """What the memory of the process did over these steps, where it does not grow steadily."""
    amount = grown_between(context, start, end)
    if amount is None:
        return "The memory of the process was not looked at often enough over these steps."
    if amount < max(GROWTH_LEAST, GROWTH_SHARE * private(context.run.memory.points[-1])):
        return "So far this hardly shows in the memory of the process."
    return f"The training process grew by {size(amount)} over these steps, not evenly. {_UNMEASURED}"


def _grows(who: str, found: Growth) -> str:
    return (
        f"{who} grew by {size(found.bytes)} from step {found.start} to step {found.end}: {size(found.slope)} a step "
        f"(parts of it between {size(found.low)} and {size(found.high)})."
    )


def _until(context: Context, found: Growth) -> str:
    if found.steps_left is None:
        return "memory grows without an end"
    return (
        f"out of memory in about {float(f'{found.steps_left:.2g}'):,.0f} steps "
        f"({_long(found.steps_left * context.mean)})"
    )


def _long(seconds: float) -> str:
    for factor, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.0f} {unit}"
    return time(seconds)
