"""Several ranks: what they wait for one another, and what their communication costs."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.ranks import SYNC, Cause, Joined, heaviest, join, straggler, unevenness
from hotlap.diagnose.rules.base import Rule, number, part, percent, plural, time
from hotlap.diagnose.thresholds import (
    ACCUMULATES,
    EVERY_BACKWARD,
    RANKS_SHARE,
    SYNC_SHARE,
    UNEVEN_SECONDS,
    UNUSED_LOOKS,
)
from hotlap.records import COMPUTING, DataParallel, Finding

_REMEDIES = {
    "data_wait": (
        "Its input is slower: give it the same workers, cores and storage as the others, and samples that take about "
        "as long to load. See the findings on data."
    ),
    "computing": (
        "Look for what differs on that rank: another program on its device or cores, a lower clock (heat, power), "
        "other hardware, or longer samples. Sort samples by length so that all ranks get similar ones."
    ),
    "validation": "Share the validation among the ranks, validate less often, or on fewer samples.",
    "checkpoint": "Write checkpoints less often, in the background, or a part by each rank.",
    "logging": "Log every N steps, and let nothing of it wait for the device or the network.",
    "host_to_device": "Pin the memory of its batches, and look at how its device is attached (`nvidia-smi topo -m`).",
}
_ELSE = "Look at what that rank does there and the others do not: the step is as fast as its slowest rank."


def _remedy(cause: Cause) -> str:
    return _REMEDIES.get("computing" if cause.phase in COMPUTING else cause.phase, _ELSE)


def _longer(joined: Joined, rank: int, cause: Cause) -> str:
    what = f"`{cause.phase}`" if cause.phase != "computing" else "Its computing (forward to optimizer)"
    return f"{what} takes {time(cause.seconds)} longer on rank {rank} than on {_others(joined)}."


def _others(joined: Joined) -> str:
    return "the other" if len(joined.ranks) == 2 else f"the other {len(joined.ranks) - 1} (mean)"


def _parallel(context: Context) -> DataParallel | None:
    return next((rank.data_parallel for rank in context.run.ranks if rank.data_parallel), None)


class ExposedSync(Rule):
    code = "DISTRIBUTED01"
    title = "The ranks wait for their gradients to be synchronised"
    meaning = (
        "Gradients are averaged over all ranks, bucket by bucket, while backward still computes. What is left when it "
        "has computed everything is exposed: the device has nothing to do. Only what even the rank that waits least "
        "waits is counted: it is communication, and not a slow rank."
    )
    evidence_needed = (
        "The time from the end of computing to the end of backward, and in collectives that the script calls itself, "
        "on every rank. On a GPU, what the timers of DistributedDataParallel say of steps that were watched."
    )
    remedy = (
        "Synchronise less often (larger batches, or accumulation under `no_sync()`), send less (the hook "
        "`bf16_compress_hook`), or give it more to hide behind. Between machines, check the network that is used."
    )
    limits = (
        "The bound takes all of it to be hidden. With synchronous collectives in the model itself (SyncBatchNorm, "
        "tensor parallelism), only the gradients' part is seen; a collective with `async_op` is seen until it is "
        "started. Of reentrant checkpointing around the first layers a part of the wait counts as backward."
    )
    changes = ("no_sync", "gradient_compression", "bucket_cap", "bucket_view", "static_graph")

    def check(self, context: Context) -> Finding | None:
        joined = join(context)
        parallel = _parallel(context)
        if joined is None:
            return None
        seconds = joined.communication
        if context.on_cuda:
            looked = [rank.data_parallel for rank in context.run.ranks]
            measured = [each.exposed for each in looked if each is not None and each.exposed is not None]
            if len(measured) < len(looked) or parallel is None:
                return None
            seconds = min(measured) * context.micro_batches * parallel.syncs / max(1, parallel.backwards)
        named = sum(found.seconds for found in context.found if found.code == SyncEveryMicroBatch.code)
        seconds = max(0.0, seconds - named)
        evidence = [f"Even the rank that waits least waits {part(context, seconds)} in a step."]
        remedy, changes = self.remedy, list(self.changes) if parallel is not None else []
        if context.micro_batches < ACCUMULATES and changes:
            changes.remove("no_sync")
        if parallel is not None:
            if parallel.overlapped is not None:
                evidence.append(f"{time(parallel.overlapped)} of reducing run beside the computing of backward.")
            if parallel.parameter_bytes and parallel.buckets:
                buckets = plural(len(parallel.buckets), "bucket")
                gradients = f"{number(parallel.parameter_bytes / 1e6)} MB of gradients in {buckets}"
                evidence.append(f"{gradients}, by {parallel.backend or 'an unknown backend'}.")
                if len(parallel.buckets) == 1 and parallel.parameter_bytes > 1 << 20:
                    remedy += " With a single bucket nothing overlaps: lower `bucket_cap_mb`."
            if parallel.comm_hook:
                remedy = remedy.replace("send less (the hook `bf16_compress_hook`), or give", "or give")
                evidence.append(f"A communication hook is set already: {parallel.comm_hook}.")
                changes.remove("gradient_compression")
        return self.finding(context, seconds, evidence, least=SYNC_SHARE, remedy=remedy, changes=changes)


class SlowRank(Rule):
    code = "DISTRIBUTED02"
    title = "The other ranks wait for a slow one"
    meaning = (
        "All ranks leave a synchronisation together, so a step is as long as on the slowest rank. The same rank comes "
        "last in nearly every step, and one of its phases explains it."
    )
    evidence_needed = (
        "The wait for synchronisation on every rank, step by step: the slow rank is the one that waits least, in 80 % "
        "of the steps. Its phases are compared with those of the others; one must explain 80 % of their wait."
    )
    remedy = _ELSE
    limits = (
        "Ranks on other machines are seen only where their records are in the same directory. On a GPU a rank that is "
        "slow on its device shows where its host waits. Two slow ranks that take turns are DISTRIBUTED06."
    )

    def check(self, context: Context) -> Finding | None:
        joined = join(context)
        found = joined and straggler(joined)
        named = any(each.code == UnequalWork.code for each in context.found)
        if not joined or not found or found.cause is None or named:
            return None
        waits = "The other waits" if len(joined.ranks) == 2 else "The others wait"
        evidence = [
            f"{waits} {part(context, found.wait)} for rank {found.rank} in the median step.",
            f"Rank {found.rank} is the last in {percent(found.consistency)} of {plural(len(joined.steps), 'step')}.",
            _longer(joined, found.rank, found.cause),
        ]
        return self.finding(context, found.wait, evidence, least=RANKS_SHARE, remedy=_remedy(found.cause))


class SyncEveryMicroBatch(Rule):
    code = "DISTRIBUTED03"
    title = "Gradients are synchronised in every micro-batch"
    meaning = (
        "Gradients of several micro-batches are accumulated before the optimizer steps, and each backward averages "
        "them over all ranks. Once, in the last of them, would do."
    )
    evidence_needed = (
        "How many backward calls synchronised, beside the micro-batches of a step; the wait for synchronisation."
    )
    remedy = (
        "Run forward and backward of all micro-batches but the last inside `with model.no_sync():`. In Accelerate "
        "`with accelerator.accumulate(model):` does it."
    )
    limits = (
        "The bound is the wait of all micro-batches but the last. A wait for a slow rank moves to the last one instead "
        "of going away. Sums are rounded in another order. With several data parallel models it is not looked for."
    )
    changes = ("no_sync",)

    def check(self, context: Context) -> Finding | None:
        parallel = _parallel(context)
        micro_batches = context.micro_batches
        if parallel is None or parallel.models != 1 or micro_batches < ACCUMULATES or not parallel.backwards:
            return None
        if parallel.syncs < EVERY_BACKWARD * parallel.backwards:
            return None
        wait = context.seconds(SYNC)
        if context.on_cuda:
            wait = (parallel.exposed or 0.0) * micro_batches
        seconds = wait * (micro_batches - 1) / micro_batches
        evidence = [
            f"{parallel.syncs:,} of {plural(parallel.backwards, 'backward call')} synchronised gradients, at "
            f"{plural(micro_batches, 'micro-batch').replace('batchs', 'batches')} in a step.",
            f"The wait in all of them but the last takes {part(context, seconds)}.",
        ]
        return self.finding(context, seconds, evidence)


class UnequalWork(Rule):
    code = "DISTRIBUTED04"
    title = "One rank trains more samples than the others, which wait for it"
    meaning = (
        "The ranks get batches of different sizes, and the largest one sets the pace. Averaging over ranks also gives "
        "a sample of a small batch more weight than one of a large batch."
    )
    evidence_needed = (
        "Samples of each rank in each step; the rank with most must have 1.1 times as many in 80 % of the steps, be "
        "the one that the others wait for, and owe it to its computing."
    )
    remedy = (
        "Give every rank the same number of samples: `DistributedSampler` with equal batch sizes. On unequal devices, "
        "unequal batches are right only where they end at the same time."
    )
    limits = "Samples are the first dimension of a batch; packed sequences of unequal length look equal."

    def check(self, context: Context) -> Finding | None:
        joined = join(context)
        found = joined and straggler(joined)
        most = joined and heaviest(joined)
        if not joined or not found or found.cause is None or not most or most[0] != found.rank:
            return None
        if found.cause.phase not in ("computing", "data_wait", *COMPUTING):
            return None
        rank, own, others = most
        evidence = [
            f"Rank {rank} trains {own:g} samples in a step, {_others(joined)} {others:g} (medians).",
            f"They wait {part(context, found.wait)} for it in the median step.",
            _longer(joined, rank, found.cause),
        ]
        return self.finding(context, found.wait, evidence, least=RANKS_SHARE)


class NeedlessSearch(Rule):
    code = "DISTRIBUTED05"
    title = "Every step looks for unused parameters, and there are none"
    meaning = (
        "`find_unused_parameters=True` walks through the whole graph after each forward, to find parameters that will "
        "get no gradient. All of them did."
    )
    evidence_needed = (
        "The setting, the parameters that DistributedDataParallel found unused in steps that were watched, and the "
        "time that the model's outputs spent in it after the forward."
    )
    remedy = (
        "Leave `find_unused_parameters` out. Where the graph is the same in every step, `static_graph=True` needs no "
        "search even with unused parameters."
    )
    limits = (
        "Seen in a few steps: a model that leaves layers out at random may use all of them there. Without the setting, "
        "DistributedDataParallel then stops with an error in the next forward. Some of the time stays without it."
    )
    changes = ("unused_search", "static_graph")

    def check(self, context: Context) -> Finding | None:
        parallel = _parallel(context)
        if parallel is None or not parallel.find_unused_parameters or parallel.static_graph:
            return None
        seen = [rank.data_parallel for rank in context.run.ranks if rank.data_parallel is not None]
        looks = min(each.looks for each in seen)
        if looks < UNUSED_LOOKS or any(each.unused != 0 for each in seen) or parallel.search_seconds is None:
            return None
        seconds = parallel.search_seconds * context.micro_batches
        evidence = [
            f"In none of the {looks} steps that were watched was a parameter unused, on {plural(len(seen), 'rank')}.",
            f"Looking for them takes up to {part(context, seconds)}.",
        ]
        return self.finding(context, seconds, evidence)


class UnevenRanks(Rule):
    code = "DISTRIBUTED06"
    title = "The ranks wait for one another, in some steps far more than in others"
    meaning = (
        "No rank is slow in every step, but in each step some rank is, and all others wait for it: the work of a step "
        "is not the same on all ranks, or one of them does something now and then."
    )
    evidence_needed = (
        "The wait for synchronisation on every rank, step by step, over that of the rank that waits least. One phase "
        "of the rank that was waited for must explain 80 % of it, in the same step or at the end of the one before."
    )
    remedy = _ELSE
    limits = (
        "Where the computing explains it, waits under 5 ms are left to the operating system, which causes such waits "
        "too. Averages over accumulation or larger batches make the ranks more alike."
    )

    def check(self, context: Context) -> Finding | None:
        joined = join(context)
        found = joined and unevenness(joined)
        named = any(each.code in (UnequalWork.code, SlowRank.code) for each in context.found)
        if not joined or not found or found.cause is None or named:
            return None
        computes = found.cause.phase in ("computing", "other", *COMPUTING)
        if computes and found.wait < UNEVEN_SECONDS:
            return None
        by_rank = ", ".join(
            f"rank {rank} {percent(share)}"
            for rank, share in sorted(found.by_rank.items(), key=lambda each: -each[1])[:4]
        )
        phase = "The computing" if found.cause.phase == "computing" else f"`{found.cause.phase}`"
        evidence = [
            f"Ranks wait {part(context, found.wait)} for the slowest one in a mean step.",
            f"Waited for: {by_rank}.",
            f"{phase} of the one waited for takes {time(found.cause.seconds)} longer than on {_others(joined)}.",
        ]
        return self.finding(context, found.wait, evidence, least=SYNC_SHARE, remedy=_remedy(found.cause))
