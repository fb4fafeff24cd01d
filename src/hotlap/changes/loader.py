"""Processes that prepare batches beside the training."""

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
    return changes
