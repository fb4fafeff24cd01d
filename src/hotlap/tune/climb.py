"""The search: one change after the other on top of the best set so far, then together what may need each other.

    best = baseline
    ┌─> diagnosis of the best set ──> changes worth trying
    │     each alone on top of it ──> kept | dropped; what is left is ordered anew where one was kept
    │     those that interact and were dropped alone, together ──> kept | dropped
    └── once more where the set has grown: what cost little of a slow step may cost much of a fast one

Nothing here measures: what a change does is asked, so the search can be tried on a made-up machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import msgspec

from hotlap.records import Change, Trial
from hotlap.tune.bench import ids, on_top

#: Changes of these names may do nothing alone and much together: bfloat16 convolutions are fast in one layout only,
#: compiled code fuses the casts, and what checkpointing frees a larger micro-batch can use.
INTERACTING = (
    ("precision", "layout", "compile"),
    ("checkpointing", "micro_batch"),
    ("compile", "memory_budget"),
)
ROUNDS = 3
#: What was surely slower than this alone is not tried again on a larger set, unless it may need others.
HOPELESS = 0.9
#: What is not clear, and gains so much by what was seen of it, is worth a proof where nothing else is to be proven.
LIKELY = 1.1
#: How the reason of a trial begins whose change did nothing.
NOT_APPLIED = "it could not be applied"

#: What could be tried on top of a set, and what is not worth it, with the reason.
Propose = Callable[[Sequence[Change]], tuple[list[Change], list[Trial]]]
#: Try sets of changes on top of a set, each by itself.
Try = Callable[[Sequence[Change], Sequence[Sequence[Change]]], list[Trial]]


class Climb:
    def __init__(self, propose: Propose, attempt: Try, start: Sequence[Change] = (), *, slots: int = 1) -> None:
        """``slots``: how many sets can be tried at once."""
        self.propose, self.attempt, self.slots = propose, attempt, slots
        self.best = list(start)
        self.trials: list[Trial] = []
        self.skipped: list[Trial] = []

    def run(self) -> None:
        """Afterwards ``best`` is the best set, ``skipped`` what was never worth a trial."""
        for _ in range(ROUNDS):
            before = list(self.best)
            changes, self.skipped = self.propose(self.best)
            self.try_on_top([[change] for change in changes if not self.is_hopeless(change)])
            # One after the other: each is asked for only if the one before it was not kept.
            for together in self.interacting(changes):
                self.try_on_top([together])
            if self.best == before:
                break
        tried = {each.id for trial in self.trials for each in [trial.change, *trial.beside]}
        self.skipped = [trial for trial in self.skipped if trial.change.id not in tried]

    def try_on_top(self, sets: Sequence[Sequence[Change]]) -> None:
        """Of those tried at once the best is kept, and what was good beside it is tried on top of that."""
        waiting = list(sets)
        while waiting:
            asked: list[Sequence[Change]] = []
            while waiting and len(asked) < self.slots:
                changes = waiting.pop(0)
                if self.is_new(changes):
                    asked.append(changes)
            if not asked:
                return
            found = self.attempt(self.best, asked)
            self.trials += found
            kept = sorted((trial for trial in found if trial.kept), key=_ratio, reverse=True)
            if kept:
                self.best = on_top(self.best, [kept[0].change, *kept[0].beside])
                waiting = self.in_order(waiting)
            waiting[:0] = [[trial.change, *trial.beside] for trial in kept[1:]]

    def in_order(self, waiting: Sequence[Sequence[Change]]) -> list[Sequence[Change]]:
        """What is worth most on this set comes first; what is not proposed on it any more, last."""
        if len(waiting) < 2:
            return list(waiting)
        order = {change.id: number for number, change in enumerate(self.propose(self.best)[0])}
        return sorted(waiting, key=lambda changes: order.get(changes[0].id, len(order)))

    def is_new(self, changes: Sequence[Change]) -> bool:
        """Whether it has not been tried on top of this set, nor is in it."""
        present = ids(self.best)
        known = {(ids([trial.change, *trial.beside]), frozenset(trial.against)) for trial in self.trials}
        return not (ids(changes) & present) and (ids(changes), present) not in known

    def is_hopeless(self, change: Change) -> bool:
        alone = [trial.effect for trial in self.trials if trial.change.id == change.id and not trial.beside]
        needs_others = any(change.name in names for names in INTERACTING)
        return not needs_others and any(effect is not None and effect.high < HOPELESS for effect in alone)

    def interacting(self, changes: Sequence[Change]) -> Iterator[list[Change]]:
        """Sets of changes that were not kept alone, the most promising value of each name, largest sets first."""
        for names in INTERACTING:
            found = [self._most_promising(name, changes) for name in names]
            for size in range(len(names), 1, -1):
                for together in combinations([change for change in found if change is not None], size):
                    present = {change.name for change in self.best}
                    if not any(change.name in present for change in together):
                        yield list(together)

    def _most_promising(self, name: str, changes: Sequence[Change]) -> Change | None:
        candidates = [change for change in changes if change.name == name]
        alone = {trial.change.id: trial.effect.ratio for trial in self.trials if trial.effect and not trial.beside}
        return max(candidates, key=lambda change: alone.get(change.id, 0.0), default=None)


def _ratio(trial: Trial) -> float:
    return trial.effect.ratio if trial.effect is not None else 0.0


def dropped(trials: Sequence[Trial], why: Mapping[str, str]) -> list[Trial]:
    """The trials, of which some were kept and are not any more; ``why``: the reasons by their changes' ids."""
    return [
        msgspec.structs.replace(trial, kept=False, why=why[trial.change.id])
        if trial.kept and trial.change.id in why
        else trial
        for trial in trials
    ]


def likeliest(trials: Sequence[Trial]) -> Trial | None:
    """What looked best of all that stayed unclear, each by itself on top of nothing; None where nothing looked good."""
    found = {
        trial.effect.ratio: trial
        for trial in trials
        if trial.judgement == "unclear" and trial.effect is not None and not trial.against
        if trial.effect.ratio >= LIKELY and not trial.why.startswith(NOT_APPLIED)
    }
    return found[max(found)] if found else None


def one_back(changes: Sequence[Change], start: Sequence[Change], trials: Sequence[Trial]) -> list[Change] | None:
    """The set with the value that was kept before one that is new in it; None where there was none."""
    tried = [trial.change.id for trial in trials]
    for new in changes:
        if new.id in ids(start) or new.id not in tried:
            continue
        before = trials[: tried.index(new.id)]
        earlier = [trial.change for trial in before if trial.kept and trial.change.name == new.name]
        if earlier:
            return [earlier[-1] if change is new else change for change in changes]
    return None
