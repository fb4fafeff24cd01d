"""What the marks of a stretch mean: seconds by phase, micro-batches, samples, and where a step begins.

    kind    │ data 1  │ batch │ forward │ gap  │ backward │ gap   │ optimizer │ gap   │ data 2     │ evaluation │
    phase   │data_wait│ other │ forward │ loss │ backward │ other │ optimizer │ other │ validation │ validation │

A **segment** is a run of waits for data and what is done until the next such run. A segment with a backward
trains; calls of a model in a segment without one are validation, and so is the data that fed them. That needs
the marks that follow, so it is decided when the step is over. The same sequence of kinds means the same again:
``Plan`` is made once for each sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotlap.probe.timeline import (
    BACKWARD,
    BATCH,
    DATA,
    EVALUATION,
    FORWARD,
    FROZEN,
    GAP,
    GRAD,
    LOSS,
    OPTIMIZER,
    PAUSED,
    SAMPLING,
    SCALAR,
    SYNC,
    TIDY,
    VALIDATION,
)

#: Kinds that say nothing about which part of the step they interrupt.
INCIDENTAL = frozenset({GAP, BATCH, TIDY, PAUSED, "logging", "checkpoint", "host_to_device", SYNC})
CALLS = frozenset({FORWARD, EVALUATION, SAMPLING, FROZEN, SCALAR})
_MODEL = CALLS | {BACKWARD, GRAD}


class Segment:
    """Indexes of the marks of a run of waits for data, and of the work that follows it."""

    __slots__ = ("data", "work")

    def __init__(self) -> None:
        self.data: list[int] = []
        self.work: list[int] = []

    def handed_over(self, kinds: Sequence[str]) -> list[int]:
        """Those waits that ended with a batch."""
        return [index for index in self.data if index + 1 < len(kinds) and kinds[index + 1] == BATCH]


def segments(kinds: Sequence[str], start: int = 0) -> list[Segment]:
    found = [Segment()]
    for index in range(start, len(kinds)):
        kind = kinds[index]
        if kind in INCIDENTAL:
            continue
        if kind.startswith(DATA):
            if found[-1].work:
                found.append(Segment())
            found[-1].data.append(index)
        else:
            found[-1].work.append(index)
    return found


def new_input(kinds: Sequence[str], start: int, roles: dict[str, str]) -> int | None:
    """Index of the mark where the input of the training work that begins now begins; None without a new batch.

    ``start`` is where the last optimizer step ended. What a validation left behind is not training's input.
    """
    *earlier, last = segments(kinds, start)
    # Nothing between an optimizer step and now has trained, so what fed the earlier segments feeds validation.
    validating = {kinds[index] for segment in earlier for index in segment.data if segment.handed_over(kinds)}
    validating = {loader for loader in validating if roles.get(loader) != "training"}
    validating |= {loader for loader, role in roles.items() if role == VALIDATION}
    handed_over = last.handed_over(kinds)
    if not handed_over or (kinds[handed_over[-1]] in validating and last.work):
        return None
    feeding = kinds[handed_over[-1]]
    return next(index for index in last.data if kinds[index] == feeding or kinds[index] not in validating)


def first_work(kinds: Sequence[str], start: int) -> int:
    """Index of the first training work from ``start`` on, for a step whose input came earlier or never."""
    for index in range(start, len(kinds)):
        kind = kinds[index]
        if kind in (FORWARD, SCALAR, SAMPLING):
            return index
        if kind in (BACKWARD, GRAD):
            # A model that trains in eval mode: its call comes right before.
            calls = [before for before in range(start, index) if kinds[before] == EVALUATION]
            return calls[-1] if calls else index
    return len(kinds)


class Plan:
    """What a sequence of kinds means; ``roles`` says which loaders feed training, which validation, and learns."""

    def __init__(self, kinds: Sequence[str], roles: dict[str, str]) -> None:
        #: Which one of the record's it is, once it is there.
        self.number: int | None = None
        parts = segments(kinds)
        meant = _resolve(kinds, parts)
        _learn_roles(kinds, meant, parts, roles)
        for part in parts:
            _resolve_data(kinds, meant, part, roles)
        _resolve_gaps(kinds, meant)
        self.phases = sorted(set(meant), key=meant.index)
        #: For each mark, the place of its phase in ``phases``.
        self.slots = [self.phases.index(phase) for phase in meant]
        #: How many batches the stretch has, which of them are its samples, in how many micro-batches they were used,
        #: and how many of these used a batch that an earlier step fetched.
        self.handed_over = kinds.count(BATCH)
        self.batches, self.micro_batches, self.from_before = _micro_batches(kinds, meant, parts)
        self._only = self.batches[0] if len(self.batches) == 1 and not self.from_before else None

    def samples(self, of_batches: Sequence[int | None], start: int = 0, before: int = 0) -> int | None:
        """``of_batches``: the sizes of batches, those of this stretch from ``start`` on.

        ``before``: samples of the last batch that the step before fetched.
        """
        if self._only is not None:
            return of_batches[start + self._only]
        sizes = [size for batch in self.batches if (size := of_batches[start + batch]) is not None]
        return sum(sizes) + self.from_before * before if sizes else None

    def fields(self) -> dict[str, Any]:
        """What a reader needs to know: see ``launch.decoding``."""
        return {"phases": self.phases, "slots": self.slots, "micro_batches": self.micro_batches}


def _resolve(kinds: Sequence[str], parts: list[Segment]) -> list[str]:
    """Turn every kind of work into a phase; incidental kinds and waits for data come later."""
    meant = list(kinds)
    # The strongest sign of training that this stretch has at all.
    evidence = next((kind for kind in (BACKWARD, GRAD, FORWARD, SCALAR, EVALUATION, FROZEN) if kind in kinds), BACKWARD)
    for part in parts:
        trained = False
        later = sum(kinds[index] == evidence for index in part.work)
        called = False
        for index in part.work:
            kind = kinds[index]
            if kind == evidence:
                later -= 1
                trained = True
            if kind == OPTIMIZER:
                trained = trained and later > 0
            if kind not in _MODEL and kind != LOSS:
                continue
            if kind == SAMPLING and not part.data:
                continue
            if not trained and not later:
                meant[index] = VALIDATION
            elif kind == LOSS:
                continue
            elif kind == GRAD:
                meant[index] = BACKWARD
            elif kind != BACKWARD:
                # A call in which something was told apart goes on: it is not another one.
                goes_on = index > 1 and kinds[index - 1] == SYNC and kinds[index - 2] == FORWARD
                meant[index] = LOSS if kind in (SCALAR, FROZEN) and called and not goes_on else FORWARD
                called = True
            if kind == evidence and kind == BACKWARD:
                called = False
    return meant


def _learn_roles(kinds: Sequence[str], meant: Sequence[str], parts: list[Segment], roles: dict[str, str]) -> None:
    for part in parts:
        loaders = [kinds[index] for index in part.handed_over(kinds)]
        if not loaders or not any(kinds[index] in _MODEL for index in part.work):
            continue
        if _validates(meant, part):
            roles.setdefault(loaders[-1], VALIDATION)
        else:
            for loader in loaders:
                roles.setdefault(loader, "training")
            roles[loaders[-1]] = "training"


def _validates(meant: Sequence[str], part: Segment) -> bool:
    work = {meant[index] for index in part.work}
    return VALIDATION in work and not work & {FORWARD, BACKWARD, OPTIMIZER}


def _resolve_data(kinds: Sequence[str], meant: list[str], part: Segment, roles: dict[str, str]) -> None:
    handed_over = part.handed_over(kinds)
    feeding = kinds[handed_over[-1]] if handed_over and _validates(meant, part) else None
    for index in part.data:
        validates = kinds[index] == feeding or roles.get(kinds[index]) == VALIDATION
        meant[index] = VALIDATION if validates else "data_wait"


def _resolve_gaps(kinds: Sequence[str], meant: list[str]) -> None:
    functional = not any(kind in CALLS for kind in kinds)
    following: list[str | None] = [None] * len(kinds)
    upcoming = None
    for index in range(len(kinds) - 1, -1, -1):
        following[index] = upcoming
        if kinds[index] not in INCIDENTAL:
            upcoming = meant[index]
    previous: str | None = None
    for index, kind in enumerate(kinds):
        after = following[index]
        if kind in (GAP, BATCH):
            meant[index] = _gap(previous, after, functional)
        elif kind == OPTIMIZER:
            # Inside a closure: what lies between its forward and backward, and what comes before its forward.
            if previous in (FORWARD, LOSS) and _backward_follows(kinds, index):
                meant[index] = LOSS
            elif previous in ("data_wait", None) and after == FORWARD:
                meant[index] = "other"
        elif kind == TIDY:
            meant[index] = VALIDATION if previous == VALIDATION else OPTIMIZER
        elif kind in ("host_to_device", SYNC) and previous == VALIDATION:
            meant[index] = VALIDATION
        if kind not in INCIDENTAL:
            previous = meant[index]


def _backward_follows(kinds: Sequence[str], index: int) -> bool:
    """Whether a closure comes from this mark of its optimizer to its backward, without calling a model between."""
    for kind in kinds[index + 1 :]:
        if kind in (BACKWARD, GAP, BATCH, FORWARD, EVALUATION, SAMPLING):
            return kind == BACKWARD
    return False


def _gap(previous: str | None, after: str | None, functional: bool) -> str:
    if previous == VALIDATION:
        # What comes after the last of the validation may be anything: a pause, a log, a schedule.
        return VALIDATION if after == VALIDATION else "other"
    if functional and previous != LOSS and after in (BACKWARD, LOSS):
        return FORWARD
    if previous in (FORWARD, LOSS, BACKWARD) and after in (BACKWARD, LOSS):
        return LOSS
    return "other"


def _micro_batches(kinds: Sequence[str], meant: Sequence[str], parts: list[Segment]) -> tuple[list[int], int, int]:
    """Return which of the stretch's batches it trained on, how many micro-batches they were, how many had none."""
    number = {index - 1: batch for batch, index in enumerate(i for i, kind in enumerate(kinds) if kind == BATCH)}
    picked: list[int] = []
    ahead: list[int] = []
    count = fed = 0
    for part in parts:
        by_loader: dict[str, list[int]] = {}
        for index in part.handed_over(kinds):
            if meant[index] == "data_wait":
                by_loader.setdefault(kinds[index], []).append(number[index])
        if any(meant[index] in (FORWARD, BACKWARD) for index in part.work):
            runs = max(1, _runs(kinds, meant, part))
            most = max((len(batches) for batches in by_loader.values()), default=0)
            used = min(most, runs) if most else runs
            # Batches that were skipped were fetched and not used: the last ones are those that were.
            for batches in by_loader.values():
                picked += batches[-used:]
            count += used
            fed += min(most, used)
        elif not _validates(meant, part):
            ahead += [batch for batches in by_loader.values() for batch in batches]
    if fed < count:
        # Micro-batches whose batch was fetched in the step before; the one fetched for the step after is as large.
        picked += ahead[fed - count :]
        fed += min(len(ahead), count - fed)
    return sorted(picked), max(1, count), count - fed


def _runs(kinds: Sequence[str], meant: Sequence[str], part: Segment) -> int:
    """How often a backward follows a forward before the optimizer steps."""
    runs = 0
    called = False
    for index in part.work:
        if kinds[index] == OPTIMIZER:
            break
        if kinds[index] == BACKWARD and (called or not runs):
            runs += 1
            called = False
        elif meant[index] == FORWARD and kinds[index] in CALLS:
            called = True
    return runs
