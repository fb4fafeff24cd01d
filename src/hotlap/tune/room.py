"""Whether a set of changes can be tried at all: what is predicted not to fit is not run, nor what is no one set."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.changes import Situation
from hotlap.diagnose import Machine
from hotlap.records import Change, Environment, Facts, Trial
from hotlap.tune.arms import MEMORY_SHARE
from hotlap.tune.proof import peak
from hotlap.tune.target import Target


def memory_limit(asked: int | None, facts: Facts, environment: Environment, machine: Machine) -> int | None:
    """Bytes that the training may take: of its GPU where it computes on one, of the machine otherwise."""
    if facts.device not in (None, "cpu"):
        return None if machine.device_memory is None else int(machine.device_memory)
    if asked is not None:
        return asked
    return None if environment.memory is None else int(environment.memory * MEMORY_SHARE)


def measured_peaks(size: object, facts: Facts, trials: Sequence[Trial]) -> dict[int, int]:
    """Bytes of the peaks that were measured, by the micro-batch: of the training as it is, and of others alone."""
    now = peak(facts)
    known = {size: now} if isinstance(size, int) and now is not None else {}
    for trial in trials:
        other = trial.change.edits.get("batch_size")
        if isinstance(other, int) and trial.peak_memory is not None and not trial.beside and not trial.against:
            known[other] = trial.peak_memory
    return known


def too_large(changes: Sequence[Change], situation: Situation) -> str | None:
    """Why these changes on top of the training as it is cannot fit, or None where they may.

    By the least that each of them takes; so what is refused does not fit, and what is not refused may not fit either.
    """
    limit, peak = situation.memory_limit, situation.peak
    least = [change.memory[0] for change in changes if change.memory is not None]
    if limit is None or peak is None or not least or peak + sum(least) <= limit:
        return None
    gib = 2**30
    return (
        f"it would take at least {(peak + sum(least)) / gib:.2f} GiB ({peak / gib:.2f} now), "
        f"and there is room for {limit / gib:.2f}"
    )


def too_large_before(changes: Sequence[Change], trials: Sequence[Trial]) -> str | None:
    """Why a batch is not tried: one that is no larger ran out of memory."""
    for change in changes:
        size = change.edits.get("batch_size")
        for trial in trials:
            other = trial.change.edits.get("batch_size")
            if isinstance(size, int) and isinstance(other, int) and other <= size and "out of memory" in trial.why:
                return f"a batch of {other} ran out of memory"
    return None


def uncounted(changes: Sequence[Change], situation: Situation) -> str | None:
    """Why batches of another size cannot be compared: steps would be counted, and not samples."""
    if situation.facts.batch_size is None and any("batch_size" in change.edits for change in changes):
        return "how many samples a step has could not be seen, so another batch cannot be compared"
    return None


def same_key(changes: Sequence[Change], target: Target) -> str | None:
    """Why these changes cannot be made together: two of them set one key, or one flag, to different values."""
    places: dict[object, tuple[str, object]] = {}
    for change in changes:
        edits = target.edits([change])
        spelled = target.settings.spell(edits) if target.settings is not None else edits
        for place, value in (spelled or {}).items():
            other = places.setdefault(place, (change.id, value))
            if other[1] != value:
                return f"{other[0]} and {change.id} set the same key"
    return None
