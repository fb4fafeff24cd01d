"""Processes that prepare batches beside the training, and what is set for them."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.fetching import most_workers
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if facts.workers is None or facts.iterable_dataset:
        return []
    bound = situation.bound("data_wait")
    cores = max(1, situation.environment.cores // max(facts.world_size, 1))
    most = most_workers(facts, cores)
    counts = sorted(
        {n for n in (1, 2, cores // 2, cores, (cores + most) // 2, most) if 0 < n <= most} - {facts.workers}
    )
    if facts.workers > most:
        counts.insert(0, 0)
    changes = [
        Change(
            name="workers",
            value=str(count),
            title=f"{count} loader worker{'s' if count != 1 else ''}" if count else "no loader workers",
            # Augmentation that draws from the global generators draws other numbers in a worker.
            numerics="rounding" if facts.fetch_uses_rng or facts.fetch_uses_rng is None else "exact",
            inject={"workers": count},
            edits={"num_workers": count},
            bound=bound,
            note="each worker takes a process's memory"
            if most > cores
            else "each worker takes a core's time and a process's memory",
        )
        for count in counts
    ]
    if facts.workers and not facts.persistent_workers:
        changes.append(
            Change(
                name="persistent_workers",
                value="true",
                title="workers that outlive the epoch",
                # The shuffle of later epochs is drawn from another state of the generator.
                numerics="rounding",
                inject={"persistent_workers": True},
                edits={"persistent_workers": True},
                bound=bound,
            )
        )
    return changes + _further_ahead(situation)


def _further_ahead(situation: Situation) -> list[Change]:
    """Of workers that are fast enough on average: with more batches ready, a slow one does not stop the training."""
    facts = situation.facts
    if not facts.workers:
        return []
    bound = situation.bound_of(_uneven_wait(situation))
    changes = [
        Change(
            name="prefetch",
            value=str(count),
            title=f"{count} batches ahead of each worker",
            numerics="exact",
            inject={"prefetch_factor": count},
            edits={"prefetch_factor": count},
            bound=bound,
            note=f"takes the memory of {facts.workers * (count - (facts.prefetch_factor or 2))} more batches",
        )
        for count in (4, 8)
        if count > (facts.prefetch_factor or 2)
    ]
    if facts.workers > 1:
        changes.append(
            Change(
                name="any_order",
                value="true",
                title="batches in the order in which they are ready",
                # Which batch comes first depends on what the machine does besides.
                numerics="trajectory",
                inject={"any_order": True},
                bound=bound,
                note="the order of the samples is another one in every run",
            )
        )
    return changes


def _uneven_wait(situation: Situation) -> float:
    """Seconds of the wait for data that are there although the workers are fast enough on average."""
    facts, wait = situation.facts, situation.diagnosis.phases.get("data_wait", 0.0)
    if facts.fetch_seconds is None or not facts.workers:
        return wait
    made_in = facts.fetch_seconds * (facts.micro_batches or 1) / facts.workers
    return max(0.0, situation.step_seconds - max(made_in, situation.step_seconds - wait))
