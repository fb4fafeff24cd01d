"""Batches made in another way: one indexing, samples that are kept, memory that workers share.

Where the training fetches them itself, cheapest first: an indexing of what is in memory already; the whole set as one
tensor; samples kept as they are. Where workers do: each sample fetched once by all of them; batches put together where
the training reads them. Where samples differ each time, but are made of the same pictures: those kept as they were
decoded.
"""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.rules.base import size
from hotlap.diagnose.thresholds import AGAIN
from hotlap.records import COMPUTING, Change

#: What is kept may take this share of the machine's memory, for all ranks together.
MEMORY = 0.25
#: Seconds in which the lever fetches all samples before the first batch; where it takes longer it does not.
AHEAD = 10.0
#: Bytes of a batch: a smaller one comes faster through torch's own queue.
LEAST_BATCH = 2**16


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if facts.workers is None or facts.iterable_dataset:
        return []
    return [
        *_indexed(situation),
        *_kept(situation),
        *_shared_samples(situation),
        *_decoded(situation),
        *_shared_batches(situation),
    ]


def ahead_seconds(situation: Situation) -> float | None:
    """What it takes the workers to fetch each sample once that can be kept; None where it is not known."""
    facts = situation.facts
    if not facts.workers or not facts.batch_size or facts.fetch_seconds is None or not facts.dataset.length:
        return None
    batches = facts.dataset.length * _share(situation, MEMORY) / facts.batch_size
    return batches * facts.fetch_seconds / (facts.workers * situation.ranks)


def _indexed(situation: Situation) -> list[Change]:
    facts, bound = situation.facts, situation.bound("data_wait")
    if not facts.dataset.indexed:
        return []
    note = "the data set is in memory already, so a batch is one indexing instead of a call for each sample"
    if facts.workers:
        return [
            Change(
                name="batched_fetch",
                value="true",
                title="batches by one indexing, without workers",
                numerics="exact",
                inject={"batched_fetch": True, "workers": 0},
                bound=bound,
                note=note,
            )
        ]
    return [
        Change(
            name="batched_fetch",
            value="true",
            title="batches by one indexing",
            numerics="exact",
            inject={"batched_fetch": True},
            live=True,
            bound=bound,
            note=note,
        )
    ]


def _kept(situation: Situation) -> list[Change]:
    facts, dataset, memory = situation.facts, situation.facts.dataset, situation.environment.memory
    if facts.workers or facts.samples_use_rng is not False or dataset.indexed:
        return []
    if dataset.length is None or not dataset.sample_bytes or memory is None:
        return []
    whole = dataset.length * dataset.sample_bytes
    room = MEMORY * memory / situation.ranks
    if dataset.stacked is False:
        whole = room
    share = _share(situation, MEMORY / situation.ranks)
    wait = situation.diagnosis.phases.get("data_wait", 0.0)
    changes = []
    if dataset.stacked and dataset.alike and share == 1:
        device = "cpu" if situation.on_cpu else "cuda"
        changes.append(
            Change(
                name="whole_set",
                value=device,
                title=f"all samples in one tensor on the {'CPU' if situation.on_cpu else 'GPU'}",
                numerics="exact",
                inject={"whole_set": device},
                bound=situation.bound("data_wait", *(() if situation.on_cpu else ("host_to_device",))),
                note=f"takes {size(whole)}; pays from the second epoch on, or where fetching all takes seconds",
            )
        )
    changes.append(
        Change(
            name="cache_samples",
            value=f"{min(whole, room) / 1e9:.2g}GB",
            title="samples kept in memory",
            numerics="exact",
            inject={"cache_samples": int(min(1.5 * whole, room))},
            bound=situation.bound_of(wait * share),
            note=f"takes {size(min(whole, room))}; pays from the second epoch on, or where fetching all takes seconds",
        )
    )
    return changes


def _share(situation: Situation, of_memory: float) -> float:
    """Of the samples that which fits: each is read once in an epoch, so what is kept is what hits."""
    dataset, memory = situation.facts.dataset, situation.environment.memory
    # What the script's own function makes of samples says nothing of their size: the most is what could be.
    if dataset.stacked is False:
        return 1.0
    whole = (dataset.length or 0) * (dataset.sample_bytes or 0)
    return min(1.0, of_memory * memory / whole) if memory and whole else 0.0


def _shared_samples(situation: Situation) -> list[Change]:
    facts, dataset, memory = situation.facts, situation.facts.dataset, situation.environment.memory
    if not facts.workers or facts.samples_use_rng is not False or dataset.indexed:
        return []
    if dataset.length is None or not dataset.sample_bytes or memory is None:
        return []
    whole, room = dataset.length * dataset.sample_bytes, MEMORY * memory
    if dataset.stacked is False:
        whole = room
    return [
        Change(
            name="shared_samples",
            value=f"{min(whole, room) / 1e9:.2g}GB",
            title="samples kept in memory that all workers share",
            numerics="exact",
            inject={"shared_samples": int(min(1.5 * whole, room))},
            bound=_bound(situation, _share(situation, MEMORY)),
            note=f"takes {size(min(whole, room))} of the node; all samples are fetched before the first batch",
        )
    ]


def _decoded(situation: Situation) -> list[Change]:
    facts, memory = situation.facts, situation.environment.memory
    if not facts.fetch_seconds or not facts.decode_seconds or memory is None:
        return []
    if (facts.decoded_again_share or 0.0) < AGAIN:
        return []
    room = MEMORY * memory / situation.ranks
    return [
        Change(
            name="cache_decoded",
            value=f"{room / 1e9:.2g}GB",
            title="decoded pictures kept in memory",
            numerics="exact",
            inject={"cache_decoded": int(room)},
            bound=_bound(situation, min(1.0, facts.decode_seconds / facts.fetch_seconds)),
            note=f"takes {size(facts.decoded_bytes or 0.0)} for what was seen, and no more than {size(room)}",
        )
    ]


def _bound(situation: Situation, share: float) -> float:
    """The most that it could give to fetch this share less."""
    # Workers that take the cores from the arithmetic may cost any of it: its threads wait for one another.
    taken = COMPUTING if situation.facts.workers and situation.found("HOST04") else ()
    return situation.bound_of(share * sum(situation.diagnosis.phases.get(each, 0.0) for each in ("data_wait", *taken)))


def _shared_batches(situation: Situation) -> list[Change]:
    facts, dataset = situation.facts, situation.facts.dataset
    if not facts.workers or not dataset.stacked or not dataset.alike:
        return []
    if (dataset.sample_bytes or 0) * (facts.batch_size or 0) < LEAST_BATCH:
        return []
    return [
        Change(
            name="shared_batches",
            value="true",
            title="batches in memory that the workers use again",
            numerics="exact",
            inject={"shared_batches": True},
            bound=situation.bound("data_wait"),
            note="takes the memory of some batches a worker",
        )
    ]
