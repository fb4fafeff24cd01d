"""Whether a set of changes can be tried at all: what is predicted not to fit is not run, nor what is no one set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hotlap.changes import Situation, conflicts
from hotlap.diagnose import Machine
from hotlap.errors import HotlapError
from hotlap.records import Change, Environment, Facts, FitOfChange, Trial
from hotlap.tune.arms import MEMORY_SHARE
from hotlap.tune.journal import Journal
from hotlap.tune.proof import peak
from hotlap.tune.target import Target

#: Of the keys of a configuration, those that its memory on a device depends on.
MOVES_MEMORY = frozenset(
    {
        *("batch_size", "accumulation_steps", "use_checkpoint", "use_checkpoint_attn", "use_checkpoint_ffn"),
        *("use_mixed_precision", "mixed_precision_dtype", "optimizer", "channels_last", "patch_size", "crop_size"),
        *("window_size", "depths", "fuse_chunk_size", "spike_chunk_size", "max_batch_tokens", "perceptual_layers"),
    }
)


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


def obstacle(
    after: Sequence[Change],
    changes: Sequence[Change],
    situation: Situation,
    target: Target,
    trials: Sequence[Trial],
    journal: Journal,
) -> str | None:
    """Why these changes, with which the set is ``after``, are not tried; None where they are."""
    return (
        conflicts(after, situation)
        or same_key(after, target)
        or uncounted(changes, situation)
        or too_large(changes, situation)
        or too_large_before(changes, trials)
        or unfit(after, changes, situation, target, journal)
    )


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


def unfit(
    after: Sequence[Change], changes: Sequence[Change], situation: Situation, target: Target, journal: Journal
) -> str | None:
    """Why these changes, with which the set is ``after``, do not fit on the GPU by the estimate of the configuration.

    Only what may need more than there is, is estimated: that takes seconds. Where even what is least taken up by others
    leaves too little, it does not fit; what may just fit is tried.
    """
    limit, peak, memory = situation.memory_limit, situation.peak, situation.machine.device_memory
    most = [change.memory[1] if change.memory is not None else None for change in changes]
    known = [each for each in most if each is not None]
    if target.config is None or situation.on_cpu or limit is None or peak is None or memory is None:
        return None
    if situation.facts.compiled or any(change.name == "compile" for change in after):
        return None  # the estimate is of the model as it stands, and compiled code may need less
    if (len(known) == len(most) and peak + sum(known) <= limit) or not MOVES_MEMORY & target.edits(after).keys():
        return None
    key = f"fits {' + '.join(sorted(change.id for change in after))}"
    found = journal.once(key, list[FitOfChange], lambda: _estimated(after, situation, target, int(memory)))
    if not found or found[0].verdict != "does not fit":
        return None
    gib = 2**30
    return f"it would need at least {found[0].total[0] / gib:.2f} GiB, and there are {memory / gib:.2f} (estimated)"


def _estimated(after: Sequence[Change], situation: Situation, target: Target, memory: int) -> list[FitOfChange]:
    from hotlap.estimate.device import Device
    from hotlap.estimate.of_changes import fits_of
    from hotlap.train.config import load_config

    assert target.config is not None
    capability = situation.facts.switches.capability
    device = Device(name="GPU", memory=memory, capability=capability, reported=True)
    with suppress(HotlapError):  # what cannot be estimated is tried
        return fits_of(load_config(Path(target.config)), {"": target.edits(after)}, device).changes
    return []


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
