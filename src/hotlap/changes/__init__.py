"""What could be altered, given what was found. Pure: nothing here measures.

    Situation (diagnosis, facts, environment, configuration keys) -> families -> [Change] in the order to try

A family answers with changes, or with a reason why it has none. Advice knows what the script has already set.
"""

from __future__ import annotations

from hotlap.changes import allocator, batch, checkpointing, compiling, layout, loader, optimizer, precision
from hotlap.changes.situation import Situation
from hotlap.records import Change, Trial

#: In this order changes are tried: what is cheap to try and bounded by a finding first, compilation last.
FAMILIES = (loader, checkpointing, allocator, precision, layout, optimizer, batch, compiling)

#: Changes that could give less than this come after all others.
WORTH_IT = 1.1

__all__ = ["FAMILIES", "Situation", "propose"]


def propose(situation: Situation, minimum: float) -> tuple[list[Change], list[Trial]]:
    """Return the changes to try, and those that are not worth a trial with the reason.

    ``minimum``: a change whose bound is below ``1 + minimum`` is not tried.
    """
    wanted: list[Change] = []
    skipped: list[Trial] = []
    for family in FAMILIES:
        for change in family.propose(situation):
            if change.bound is not None and change.bound < 1 + minimum:
                least = f"a gain counts from {1 + minimum:.3f}x on"
                why = f"not tried: it could give at most {change.bound:.3f}x, and {least}"
                skipped.append(
                    Trial(change=change, against=[], effect=None, judgement="not faster", kept=False, why=why)
                )
            else:
                wanted.append(change)
    # With little time, what can hardly pay must not take it from what can.
    wanted.sort(key=lambda change: change.bound is not None and change.bound < WORTH_IT)
    return wanted, skipped
