"""What could be altered, given what was found. Pure: nothing here measures.

    Situation (diagnosis, facts, environment, configuration keys) -> families -> [Change] in the order to try

A family answers with changes, or with a reason why it has none. Advice knows what the script has already set.
"""

from __future__ import annotations

import msgspec

from hotlap.changes import (
    allocator,
    batch,
    checkpointing,
    collecting,
    compiling,
    copies,
    distributed,
    larger_batch,
    layout,
    lengths,
    loader,
    model,
    optimizer,
    padding,
    perceptual,
    precision,
    reporting,
    samples,
    switches,
    threads,
)
from hotlap.changes.conflicts import conflicts, incompatible
from hotlap.changes.memory import most_saved_first, predicted, saves_too_little
from hotlap.changes.situation import Situation
from hotlap.records import Change, Trial

#: In this order changes are tried: what is cheap to try and bounded by a finding first, compilation last.
FAMILIES = (
    samples,
    loader,
    collecting,
    copies,
    distributed,
    checkpointing,
    allocator,
    precision,
    layout,
    optimizer,
    switches,
    reporting,
    lengths,
    padding,
    batch,
    threads,
    compiling,
    perceptual,
    larger_batch,
    model,
)

#: Changes that could give less than this come after all others.
WORTH_IT = 1.1

__all__ = ["FAMILIES", "Situation", "asked", "conflicts", "incompatible", "possible", "predicted", "propose"]


def possible(situation: Situation) -> list[Change]:
    """Return what the families have for this training, worth a trial or not."""
    return [change for family in FAMILIES for change in family.propose(situation)]


def propose(situation: Situation, minimum: float) -> tuple[list[Change], list[Trial]]:
    """Return the changes to try, and those that are not worth a trial with the reason.

    ``minimum``: a change whose bound is below ``1 + minimum`` is not tried. Where the goal is memory, bounds of speed
    say nothing: then one is not tried that cannot make the peak smaller.
    """
    wanted: list[Change] = []
    skipped: list[Trial] = []
    for_memory = situation.goal == "memory"
    for proposed in possible(situation):
        change = msgspec.structs.replace(proposed, memory=predicted(proposed, situation))
        hopeless = saves_too_little(change, situation) if for_memory else _too_slow(change, minimum)
        why = conflicts([change], situation) or hopeless
        if why:
            skipped.append(_skipped(change, f"not tried: {why}"))
        else:
            wanted.append(change)
    # With little time, what can hardly pay must not take it from what can.
    if for_memory:
        wanted.sort(key=most_saved_first)
    else:
        wanted.sort(key=lambda change: change.bound is not None and change.bound < WORTH_IT)
    return wanted, skipped


def _too_slow(change: Change, minimum: float) -> str | None:
    """Why its bound is too low to be tried."""
    if change.bound is None or change.bound >= 1 + minimum:
        return None
    most = f"at most {change.bound:.3f}x" if change.bound >= 1.0005 else "nothing that shows"
    return f"it could give {most}, and a gain counts from {1 + minimum:.3f}x on"


def asked(name: str, value: str, situation: Situation) -> Change:
    """Return the change that the user asks for by name and value, proposed or not.

    Raises:
        ValueError: there is none, or it cannot be here; the reason.
    """
    proposed = possible(situation)
    found = next((change for change in proposed if (change.name, change.value) == (name, value)), None)
    found = found or precision.asked(name, value, situation)
    if found is None:
        known = ", ".join(change.id for change in proposed)
        raise ValueError(f"there is no change {name}={value} for this training; there are {known}")
    obstacle = conflicts([found], situation)
    if obstacle:
        raise ValueError(f"{found.id} cannot be tried: {obstacle}")
    return found


def _skipped(change: Change, why: str) -> Trial:
    return Trial(change=change, against=[], effect=None, judgement="not faster", kept=False, why=why)
