"""How many threads share an operator's work on a CPU."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import COMPUTING, Change


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if not situation.on_cpu or facts.threads is None:
        return []
    return [_change(situation, facts.threads, count) for count in _counts(situation) if count != facts.threads]


def _counts(situation: Situation) -> list[int]:
    """All cores of this process, those that are no hyper-threads, those that its workers leave, and one."""
    facts, here = situation.facts, situation.environment
    share = max(1, facts.world_size)
    cores = max(1, here.cores // share)
    physical = max(1, min(here.physical_cores or here.cores, here.cores) // share)
    counts = [physical, cores, max(1, cores - (facts.workers or 0)), 1]
    return list(dict.fromkeys(counts))


def _change(situation: Situation, now: int, count: int) -> Change:
    # More threads divide what is computed at the best; fewer may end a crowd of any size.
    crowd = ("data_wait", "gradient_sync", "other")
    faster = situation.bound(*COMPUTING, speedup=count / now) if count > now else situation.bound(*COMPUTING, *crowd)
    return Change(
        name="threads",
        value=str(count),
        title=f"{count} thread{'s' if count != 1 else ''} for an operator's work",
        # A sum that is divided otherwise rounds otherwise.
        numerics="rounding",
        inject={"threads": count},
        live=True,
        edits={"threads": count},
        bound=faster,
        note=f"{now} now, on {situation.environment.cores} cores",
    )
