"""The step waits for its input."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.fetching import busy_share, most_workers, mostly_waits
from hotlap.diagnose.rules.base import Rule, part, percent, plural, time
from hotlap.diagnose.steady import core
from hotlap.diagnose.thresholds import FETCH_TINY, LOOP_SHARE, PADDING_SHARE, WORKER_HANDOVER, WORKERS_COUNTED
from hotlap.records import Finding
from hotlap.workers import to_keep_up

_CHEAPER_FETCH = (
    "Make fetching cheaper: decode and resize once and keep the result, cache samples in memory, move work from "
    "Python loops to batched tensors."
)
_CHEAPER_READS = (
    "Make the storage answer faster: keep samples in memory or on a local disk, pack many into one file, read several "
    "at once."
)


class NoWorkers(Rule):
    code = "DATA01"
    title = "The step waits for data that is fetched in the training loop"
    meaning = (
        "Samples are read, decoded and collated by the process that trains, between two steps. While it does that "
        "nothing computes, and while it computes nothing is fetched."
    )
    evidence_needed = (
        "The mean `data_wait` of the steady steps, the loader's `num_workers` being 0 or no loader with workers having "
        "been seen, and the mean seconds to fetch one batch."
    )
    remedy = "Fetch in worker processes (`num_workers`), so that the next batch is made while this one trains."
    limits = (
        "The bound assumes that all of the wait can be hidden. Workers need cores: where the training computes on all "
        "of them, the gain is smaller. A fetch shorter than the handover from a worker (about 0.5 ms) is not reported."
    )
    changes = ("workers", "batched_fetch", "whole_set", "cache_samples")

    def check(self, context: Context) -> Finding | None:
        facts, wait = context.facts, _wait(context)
        if facts.workers or wait <= WORKER_HANDOVER * context.micro_batches:
            return None
        evidence = [f"The step waits {part(context, wait)} for its next batch."]
        if facts.workers is None:
            evidence.append("No loader with worker processes was seen.")
        else:
            evidence.append("The loader has no workers (num_workers=0): fetching happens in the training loop.")
        evidence += [*_fetching(context), _cores(context)]
        wanted = _workers_to_keep_up(context)
        remedy = self.remedy
        if facts.dataset.indexed:
            evidence.append("The data set is in memory already: each sample is one indexing of tensors or arrays.")
            remedy = "Index the tensors once for the whole batch, instead of once for each sample. Or: "
            remedy += self.remedy[0].lower() + self.remedy[1:]
        if context.cores == 1:
            remedy = f"{_CHEAPER_FETCH} There is one core only: a worker helps where fetching waits for storage."
        elif wanted is not None and wanted <= context.cores:
            remedy += f" By the fetch time, {plural(wanted, 'worker')} would keep up."
        elif wanted is not None:
            remedy += f" By the fetch time, {wanted} workers would be needed for {context.cores} cores, so also: "
            remedy += _CHEAPER_FETCH[0].lower() + _CHEAPER_FETCH[1:]
        return self.finding(context, wait, evidence, remedy=remedy, changes=self.changes if facts.workers == 0 else ())


class SlowFetch(Rule):
    code = "DATA02"
    title = "The workers do not keep up with the training"
    meaning = "Worker processes fetch samples, but they make fewer batches than the training could take."
    evidence_needed = (
        "The mean `data_wait` of the steady steps although the loader has workers, the mean seconds to fetch one batch "
        "in a worker, and what of them it is on a core or ready for one (Linux), the settings of the loader and the "
        "cores of the process."
    )
    remedy = "Use more workers while there are free cores, or make fetching cheaper."
    limits = (
        "The handover from a worker (about 0.5 ms a batch) is not at stake: any worker needs it. Which part of "
        "fetching is slow (storage, decoding, augmentation, collating) is not told apart, but for the time in which a "
        "worker neither computes nor waits for a core: then more workers than cores can pay, until the storage itself "
        "has no more to give, which is not known."
    )
    changes = ("workers", "prefetch", "any_order", "shared_samples")

    def check(self, context: Context) -> Finding | None:
        facts, wait = context.facts, _wait(context)
        if not facts.workers or _workers_cost_more(context):
            return None
        evidence = _with_workers(context)
        wanted, most = _workers_to_keep_up(context), most_workers(facts, context.cores)
        changes: tuple[str, ...]
        if wanted is not None and wanted <= facts.workers:
            remedy = (
                "On average the workers are fast enough, so their batches come unevenly: let them work further ahead "
            )
            remedy += "(`prefetch_factor`), and look for single samples that are slow to fetch."
            changes = ("prefetch", "any_order")
            if facts.persistent_workers is False:
                remedy += " If the waits come with the epochs, keep the workers alive (`persistent_workers=True`)."
                changes = (*changes, "persistent_workers")
        elif facts.workers >= most:
            remedy = f"{_CHEAPER_FETCH} All cores have a worker: more workers would take turns."
            if mostly_waits(facts):
                remedy = f"{_CHEAPER_READS} There are many workers for the cores already, and they mostly wait."
            changes = ("shared_samples",) if facts.fetch_uses_rng is False else ()
        else:
            more = min(most, wanted) if wanted is not None else most
            remedy = f"Use more workers, up to {more}"
            if more > context.cores:
                remedy += ": they mostly wait, for storage or a network, and leave the cores to others meanwhile."
            else:
                remedy += " by the fetch time and the cores." if wanted is not None else ", one for each core."
            if wanted is not None and wanted > most:
                cheaper = _CHEAPER_READS if mostly_waits(facts) else _CHEAPER_FETCH
                remedy += f" {wanted} would be needed: {cheaper[0].lower()}{cheaper[1:]}"
            changes = self.changes
        at_stake = max(0.0, wait - WORKER_HANDOVER * context.micro_batches)
        return self.finding(context, at_stake, evidence, remedy=remedy, changes=changes)


class TooManyWorkers(Rule):
    code = "DATA03"
    title = "The workers cost more than they bring"
    meaning = (
        "Either there are more workers than cores, so that they take turns with each other and with the training; or "
        "fetching is so cheap that handing the batch over costs more than making it."
    )
    evidence_needed = (
        "The mean `data_wait` of the steady steps, with more workers than cores that could keep up by their fetch "
        "time, or with a fetch time of less than half of the wait."
    )
    remedy = "Use fewer workers."
    limits = (
        "What too many workers take from the computing itself (cores, memory bandwidth) is not in the seconds at "
        "stake: it takes a comparison to measure it."
    )
    changes = ("workers", "batched_fetch", "shared_batches")

    def check(self, context: Context) -> Finding | None:
        facts, wait = context.facts, _wait(context)
        if not facts.workers or not _workers_cost_more(context):
            return None
        evidence = _with_workers(context)
        at_stake = wait
        if _fetch_is_tiny(context):
            fetch = (facts.fetch_seconds or 0.0) * context.micro_batches
            at_stake = wait - fetch
            remedy = f"Fetch in the loop (`num_workers=0`): that would take {time(fetch)} a step."
        else:
            most = most_workers(facts, context.cores)
            each = "one for each core" if most == context.cores else "as many as the cores can serve"
            remedy = f"Use at most {plural(most, 'worker')}, {each}."
        return self.finding(context, at_stake, evidence, remedy=remedy)


class RareWaits(Rule):
    code = "DATA04"
    title = "Now and then the step waits long for data, although there are workers"
    meaning = (
        "Rare steps, set apart as outliers, wait for their batch far longer than a whole step takes. Without "
        "persistent workers each epoch starts new processes, which import and fill their queues while nothing "
        "computes; and many workers that are too slow together deliver in rare bursts."
    )
    evidence_needed = (
        "At least two outliers that are mostly `data_wait` and make up most of what the outliers took beyond a usual "
        "step, a loader with workers, and that wait spread over all steady steps."
    )
    remedy = "Look for single samples that are slow to fetch, or storage that stalls."
    limits = (
        "Epochs whose start was seen are LOOP05's; in a record without that, slow storage that stalls now and then "
        "looks the same. Persistent workers change the random numbers of later epochs, so the losses have to be "
        "compared."
    )
    changes = ("persistent_workers", "workers", "prefetch", "any_order")

    def check(self, context: Context) -> Finding | None:
        facts, usual = context.facts, context.seconds("data_wait")
        # Those at which a loader starts are LOOP05's.
        stalls = [step for i in context.outliers if (step := context.run.steps[i]).i not in context.starts]
        waits = [wait for step in stalls if (wait := step.phases.get("data_wait", 0.0) - usual) > core(step) / 2]
        beyond = sum(core(step) - context.step_seconds for step in stalls)
        if not facts.workers or len(waits) < 2 or sum(waits) <= beyond / 2:
            return None
        count = len(context.run.steps) - context.steady_from
        seconds = sum(waits) / count
        evidence = [
            f"{len(waits)} of {count} steps waited {time(sum(waits) / len(waits))} longer for data than the others, "
            f"{time(seconds)} a step on average.",
            f"A step takes {time(context.mean)} without that.",
            f"Already set: {_settings(context)}.",
            *_fetching(context),
        ]
        remedy, changes = self.remedy, ["prefetch", "any_order"]
        wanted = _workers_to_keep_up(context)
        if wanted is not None and wanted > facts.workers:
            remedy, changes = _CHEAPER_FETCH, []
            if facts.workers < most_workers(facts, context.cores):
                remedy, changes = f"Use more workers, or: {remedy[0].lower()}{remedy[1:]}", ["workers"]
        if facts.persistent_workers is False:
            remedy = f"Keep the workers alive from epoch to epoch (`persistent_workers=True`). {remedy}"
            changes = ["persistent_workers", *changes]
        whole = context.mean + seconds
        return self.finding(context, seconds, evidence, least=LOOP_SHARE, whole=whole, remedy=remedy, changes=changes)


class MuchPadding(Rule):
    code = "DATA05"
    title = "Much of what the model computes is padding"
    meaning = (
        "The sequences of a batch are padded to a length that none of them has. The model computes what is beyond the "
        "longest one, and a mask throws it away."
    )
    evidence_needed = (
        "In the loader's first batches, a mask of zeros and ones, with numbers of the same shape that are constant "
        f"where no row of it is one: over {percent(PADDING_SHARE)} of the positions."
    )
    remedy = (
        "Pad each batch to its own longest sequence, in the loader's `collate_fn`; then sort by length, so that "
        "sequences of a batch are about as long."
    )
    limits = (
        "Three batches are looked at. The time at stake takes the work to grow with the length; attention's grows "
        "with its square. What is padding in some rows only is not counted."
    )
    changes = ("trim_padding", "padding", "group_by_length")

    def check(self, context: Context) -> Finding | None:
        dataset = context.facts.dataset
        if dataset.padding is None or dataset.padding <= PADDING_SHARE:
            return None
        seconds = dataset.padding * (context.compute + context.spent("loss"))
        evidence = [
            f"In the first {plural(dataset.batches, 'batch').replace('batchs', 'batches')}, "
            f"{percent(dataset.padding)} of the positions are padding in all rows.",
            f"By that share of the computing, it takes {part(context, seconds)}.",
        ]
        return self.finding(context, seconds, evidence)


def _wait(context: Context) -> float:
    """Mean wait for a batch without what the starts of the loader took, which LOOP05 is about."""
    return max(0.0, context.exposed("data_wait") - context.start_wait)


def _workers_cost_more(context: Context) -> bool:
    if _fetch_is_tiny(context):
        return True
    wanted = _workers_to_keep_up(context)
    workers = context.facts.workers or 0
    return workers > most_workers(context.facts, context.cores) and (wanted is None or wanted <= workers)


def _fetch_is_tiny(context: Context) -> bool:
    fetch = context.facts.fetch_seconds
    return fetch is not None and fetch * context.micro_batches < FETCH_TINY * _wait(context)


def _workers_to_keep_up(context: Context) -> int | None:
    """Workers that make as many batches as the training takes when it never waits; None where unknown."""
    fetch = context.facts.fetch_seconds
    busy = context.mean - context.seconds("data_wait")
    if fetch is None or busy * WORKERS_COUNTED <= fetch * context.micro_batches:
        return None
    return to_keep_up(fetch * context.micro_batches, busy) if busy > 0 else None


def _with_workers(context: Context) -> list[str]:
    return [
        f"The step waits {part(context, _wait(context))} for its next batch.",
        f"Already set: {_settings(context)}.",
        *_fetching(context),
        _cores(context),
    ]


def _fetching(context: Context) -> list[str]:
    fetch, busy = context.facts.fetch_seconds, busy_share(context.facts)
    if fetch is None:
        return []
    said = [f"Fetching and collating one batch takes {time(fetch)}."]
    if busy is not None and context.facts.workers:
        said.append(f"A worker computes or wants a core for {percent(busy)} of that, and waits for the rest.")
    return said


def _cores(context: Context) -> str:
    cores, threads = context.cores, context.facts.threads
    said = f"Each process of the training may use {plural(cores, 'core')}"
    if context.on_cuda:
        return f"{said}; the one that feeds the GPU needs one of them."
    if threads is None:
        return f"{said}."
    free = max(0, cores - threads)
    return f"{said} and computes with {plural(threads, 'thread')}: {free or 'none'} free."


def _settings(context: Context) -> str:
    facts = context.facts
    settings = {
        "num_workers": facts.workers,
        "prefetch_factor": facts.prefetch_factor,
        "persistent_workers": facts.persistent_workers,
        "pin_memory": facts.pin_memory,
    }
    return ", ".join(f"{name}={value}" for name, value in settings.items() if value is not None)
