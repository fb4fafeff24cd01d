"""Batches made in another way, where the training fetches them itself: one indexing, samples that are kept.

Cheapest first: an indexing of what is in memory already; the whole set as one tensor; samples kept as they are.
"""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.rules.base import size
from hotlap.records import Change

#: What is kept may take this share of the machine's memory, for all ranks together.
MEMORY = 0.25


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if facts.workers is None or facts.iterable_dataset:
        return []
    return [*_indexed(situation), *_kept(situation)]


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
    if facts.workers or facts.fetch_uses_rng is not False or dataset.indexed:
        return []
    if dataset.length is None or not dataset.sample_bytes or memory is None:
        return []
    whole = dataset.length * dataset.sample_bytes
    room = MEMORY * memory / situation.ranks
    # Sequential reading meets each sample once in an epoch, so what is kept is what hits.
    share = min(1.0, room / whole)
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
