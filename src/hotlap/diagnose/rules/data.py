"""The step waits for its input."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.fetching import busy_share, most_workers, mostly_waits, slow_part
from hotlap.diagnose.rules.base import Rule, number, part, percent, plural, time
from hotlap.diagnose.steady import core
from hotlap.diagnose.thresholds import AGAIN, HEAD_OF_LINE, LOOP_SHARE, PADDING_SHARE, WORKER_HANDOVER
from hotlap.diagnose.waits import (
    fetch_is_tiny,
    saved_by_any_order,
    saved_on_the_way,
    wait,
    workers_cost_more,
    workers_to_keep_up,
)
from hotlap.records import Facts, Finding

_CHEAPER_FETCH = (
    "Make fetching cheaper: decode and resize once and keep the result, cache samples in memory, move work from "
    "Python loops to batched tensors."
)
_CHEAPER_DECODING = (
    "Make fetching cheaper: decode each picture once and keep it in memory (`cache_decoded`), or store it decoded."
)
_CHEAPER_READS = (
    "Make the storage answer faster: keep samples in memory or on a local disk, pack many into one file, read several "
    "at once."
)
_CHEAPER_COLLATE = (
    "Make putting the batch together cheaper: samples of one shape that torch stacks itself, one call for the whole "
    "batch (`pad_sequence`) in place of a Python loop, and what is computed there in each sample or on the device."
)
_SLOW = {
    "storage": "Most of it is waiting for the samples: for storage, a network or another process.",
    "samples": "Most of it is computing the samples.",
    "collate": "Most of it is putting the samples together (`collate_fn`).",
}


class NoWorkers(Rule):
    code = "DATA01"
    title = "The step waits for data that is fetched in the training loop"
    meaning = (
        "Samples are read, decoded and collated by the process that trains, between two steps. While it does that "
        "nothing computes, and while it computes nothing is fetched."
    )
    evidence_needed = (
        "The mean `data_wait` of the steady steps, the loader's `num_workers` being 0 or no loader with workers having "
        "been seen, and the mean seconds to fetch one batch: having its samples and putting them together, and what of "
        "it the process computes or wants a core (Linux)."
    )
    remedy = "Fetch in worker processes (`num_workers`), so that the next batch is made while this one trains."
    limits = (
        "The bound assumes that all of the wait can be hidden. Workers need cores: where the training computes on all "
        "of them, the gain is smaller. A fetch shorter than the handover from a worker (about 0.5 ms) is not reported."
    )
    changes = ("workers", "batched_fetch", "whole_set", "cache_samples", "cache_decoded")

    def check(self, context: Context) -> Finding | None:
        facts, waited = context.facts, wait(context)
        if facts.workers or waited <= WORKER_HANDOVER * context.micro_batches:
            return None
        evidence = [f"The step waits {part(context, waited)} for its next batch."]
        if facts.workers is None:
            evidence.append("No loader with worker processes was seen.")
        else:
            evidence.append("The loader has no workers (num_workers=0): fetching happens in the training loop.")
        evidence += [*fetching(context), cores(context)]
        wanted, most = workers_to_keep_up(context), most_workers(facts, context.cores)
        remedy = self.remedy
        if facts.dataset.indexed:
            evidence.append("The data set is in memory already: each sample is one indexing of tensors or arrays.")
            remedy = "Index the tensors once for the whole batch, instead of once for each sample. Or: "
            remedy += self.remedy[0].lower() + self.remedy[1:]
        if context.cores == 1 and not mostly_waits(facts):
            remedy = f"{cheaper(facts)} There is one core only: a worker helps where fetching waits for storage."
        elif wanted is not None and wanted <= most:
            remedy += f" By the fetch time, {plural(wanted, 'worker')} would keep up."
            remedy += f" Or {_lower(_CHEAPER_DECODING)}" if decoded_again(facts) else ""
        elif wanted is not None:
            remedy += f" By the fetch time, {wanted} workers would be needed for {plural(context.cores, 'core')}, "
            remedy += f"so also: {_lower(cheaper(facts))}"
        changes = self.changes if facts.workers == 0 else ()
        return self.finding(context, waited, evidence, remedy=remedy, changes=changes)


class SlowFetch(Rule):
    code = "DATA02"
    title = "The workers do not keep up with the training"
    meaning = "Worker processes fetch samples, but they make fewer batches than the training could take."
    evidence_needed = (
        "The mean `data_wait` of the steady steps although the loader has workers, the mean seconds to fetch one batch "
        "in a worker: having its samples and putting them together, and what of it the worker is on a core or ready "
        "for one (Linux), the settings of the loader and the cores of the process."
    )
    remedy = "Use more workers while there are free cores, or make fetching cheaper."
    limits = (
        "The handover from a worker (about 0.5 ms a batch) is not at stake: any worker needs it. Decoding is told "
        "apart from augmentation where PIL or OpenCV decode. While a worker neither computes nor waits for a core it "
        "waits for storage or a network: then more workers than cores can pay, until the storage itself has no more "
        "to give, which is not known. Batches that are large on their way are DATA06's, and one that is waited for "
        "while later ones are ready is DATA07's."
    )
    changes = ("workers", "prefetch", "any_order", "shared_samples", "cache_decoded")

    def check(self, context: Context) -> Finding | None:
        facts, waited = context.facts, wait(context)
        if not facts.workers or workers_cost_more(context) or _has_another_name(context):
            return None
        evidence = with_workers(context)
        wanted, most = workers_to_keep_up(context), most_workers(facts, context.cores)
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
            remedy = f"{cheaper(facts)} All cores have a worker: more workers would take turns."
            if mostly_waits(facts):
                remedy = f"{_CHEAPER_READS} There are many workers for the cores already, and they mostly wait."
            changes = ("shared_samples",) if facts.samples_use_rng is False else ()
            changes += ("cache_decoded",) if decoded_again(facts) else ()
        else:
            more = min(most, wanted) if wanted is not None else most
            remedy = f"Use more workers, up to {more}"
            if more > context.cores:
                remedy += ": they mostly wait, for storage or a network, and leave the cores to others meanwhile."
            else:
                remedy += " by the fetch time and the cores." if wanted is not None else ", one for each core."
            if wanted is not None and wanted > most:
                remedy += f" {wanted} would be needed: {_lower(cheaper(facts))}"
            changes = self.changes
        at_stake = max(0.0, waited - WORKER_HANDOVER * context.micro_batches)
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
        facts = context.facts
        if not facts.workers or not workers_cost_more(context) or saved_on_the_way(context) is not None:
            return None
        evidence = with_workers(context)
        at_stake = wait(context)
        if fetch_is_tiny(context):
            fetch = (facts.fetch_seconds or 0.0) * context.micro_batches
            at_stake -= fetch
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
        waits = [more for step in stalls if (more := step.phases.get("data_wait", 0.0) - usual) > core(step) / 2]
        beyond = sum(core(step) - context.step_seconds for step in stalls)
        if not facts.workers or len(waits) < 2 or sum(waits) <= beyond / 2:
            return None
        count = len(context.run.steps) - context.steady_from
        seconds = sum(waits) / count
        evidence = [
            f"{len(waits)} of {count} steps waited {time(sum(waits) / len(waits))} longer for data than the others, "
            f"{time(seconds)} a step on average.",
            f"A step takes {time(context.mean)} without that.",
            *behind_another(context),
            f"Already set: {settings(context)}.",
            *fetching(context),
        ]
        remedy, changes = self.remedy, ["prefetch", "any_order"]
        wanted = workers_to_keep_up(context)
        if wanted is not None and wanted > facts.workers:
            remedy, changes = cheaper(facts), []
            if facts.workers < most_workers(facts, context.cores):
                remedy, changes = f"Use more workers, or: {_lower(remedy)}", ["workers"]
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


def _has_another_name(context: Context) -> bool:
    """Whether the wait is what DATA06 or DATA07 is about."""
    return saved_on_the_way(context) is not None or saved_by_any_order(context) is not None


def cheaper(facts: Facts) -> str:
    """The remedy for what takes most of a fetch."""
    if decoded_again(facts):
        return _CHEAPER_DECODING
    return {"storage": _CHEAPER_READS, "collate": _CHEAPER_COLLATE}.get(slow_part(facts) or "", _CHEAPER_FETCH)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def with_workers(context: Context) -> list[str]:
    return [
        f"The step waits {part(context, wait(context))} for its next batch.",
        f"Already set: {settings(context)}.",
        *fetching(context),
        cores(context),
    ]


def fetching(context: Context) -> list[str]:
    facts = context.facts
    fetch, busy, slow = facts.fetch_seconds, busy_share(facts), slow_part(facts)
    samples, collate = facts.fetch_samples_seconds, facts.fetch_collate_seconds
    if fetch is None:
        return []
    said = [f"Fetching and collating one batch takes {time(fetch)}."]
    if samples is not None and collate is not None:
        said = [f"Fetching one batch takes {time(fetch)}: its samples {time(samples)}, collating {time(collate)}."]
    if busy is not None:
        who = "A worker" if facts.workers else "The training"
        said.append(f"{who} computes or wants a core for {percent(busy)} of that, and waits for the rest.")
    decoded = _decoding(facts) if slow == "samples" else []
    return said + ([_SLOW[slow]] if slow is not None else []) + decoded


def _decoding(facts: Facts) -> list[str]:
    """What of it is decoding pictures, where that is most of it, and whether the same ones are decoded again."""
    samples, again = facts.fetch_samples_seconds or 0.0, facts.decoded_again_share
    if facts.decode_seconds is None or again is None or facts.decode_seconds < samples / 2:
        return []
    before = f"; {percent(again)} of them had been decoded before" if again else ""
    return [f"Decoding pictures takes {time(facts.decode_seconds)} of that{before}."]


def decoded_again(facts: Facts) -> bool:
    """Whether fetching is mostly decoding, of pictures many of which were decoded before."""
    return slow_part(facts) == "samples" and bool(_decoding(facts)) and (facts.decoded_again_share or 0.0) >= AGAIN


def behind_another(context: Context) -> list[str]:
    share, behind = context.facts.head_of_line_share, context.facts.batches_behind
    if share is None or behind is None or share < HEAD_OF_LINE:
        return []
    return [f"For {percent(share)} of the wait for workers a later batch was ready, {number(behind, 2)} on average."]


def cores(context: Context) -> str:
    threads = context.facts.threads
    said = f"Each process of the training may use {plural(context.cores, 'core')}"
    if context.on_cuda:
        return f"{said}; the one that feeds the GPU needs one of them."
    if threads is None:
        return f"{said}."
    free = max(0, context.cores - threads)
    return f"{said} and computes with {plural(threads, 'thread')}: {free or 'none'} free."


def settings(context: Context) -> str:
    facts = context.facts
    seen = {
        "num_workers": facts.workers,
        "prefetch_factor": facts.prefetch_factor,
        "persistent_workers": facts.persistent_workers,
        "pin_memory": facts.pin_memory,
    }
    return ", ".join(f"{name}={value}" for name, value in seen.items() if value is not None)
