"""What the search found, claimed: fresh processes, and what of it is exact where all of it is another training.

best set ── exact ones that were switched in a running training: the same losses from the first step on?
   │
   ├─ pairs of fresh processes against the baseline ──> faster and the same training: adopted
   ├─ faster, but another training: once more without the one that alone moves the losses most
   └─ else the exact ones of it alone, once more
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from hotlap.changes.memory import LEAST_MEMORY
from hotlap.records import Change, Effect, Goal, Judgement, SameTraining, Trial
from hotlap.tune.arms import CandidateFailed
from hotlap.tune.costs import FIRST_LOOKS, HASTE
from hotlap.tune.engines import Engine
from hotlap.tune.goals import NEVER, SPEED_FLOOR, objective
from hotlap.tune.guard import BY_DESIGN, identical, strictest, surely_another, tail
from hotlap.tune.journal import Journal
from hotlap.tune.paces import Paces
from hotlap.tune.proof import (
    FEWEST_STEPS,
    Launch,
    first_look_seconds,
    proof_steps,
    prove,
    same_training,
    steps_to,
    warnings_of,
    without,
)
from hotlap.tune.statistics import ALPHA, PLANNED_LOOKS, effect
from hotlap.tune.work import Curving, Launching, curve, launch

#: Steps over which the losses of an exact change are compared before it is claimed.
EXACT_STEPS = 40


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the proof of one set of changes came to."""

    changes: list[Change]
    launches: list[Launch]
    effect: Effect
    judgement: Judgement
    same: SameTraining
    #: What was proven of each pair.
    goal: Goal
    #: Throughput of the same pairs.
    speed: Effect
    #: Whether no more pairs were made, because losses of a few seeds showed that it is another training.
    given_up: bool = False

    @property
    def holds(self) -> bool:
        return self.judgement == "faster" and self.same.same is True

    @property
    def is_another(self) -> bool:
        """Whether it is faster, or seemed so when it was given up, and its losses are not those of this training."""
        seems = self.given_up and self.effect.ratio > 1
        return (self.judgement == "faster" or seems) and self.same.same is False

    @property
    def difference(self) -> str:
        """What is wrong with its losses or its quality, in a clause."""
        if self.same.numerics != "trajectory":
            return f"not the same training: {self.same.evidence}"
        said = self.same.evidence.removeprefix(BY_DESIGN).lstrip(";, ").removeprefix("and ")
        return f"{'worse' if self.same.same is False else 'not shown to be as good'}: {said}"

    @property
    def refusal(self) -> str:
        """Why it does not hold, for what was kept for it; in a clause."""
        figures = f"{self.effect.ratio:.2f}x [{self.effect.low:.2f}, {self.effect.high:.2f}], {self.effect.n} pairs"
        what = {
            "memory": " less peak memory",
            "time-to-quality": f" to the same loss (at most {NEVER:g}x where it was not reached)",
            "cost": " the samples per device hour",
        }
        verdict = self.judgement if self.judgement != "faster" else self.difference
        return f"dropped again: the proof gave {figures}{what.get(self.goal, '')}, {verdict}"

    def warnings(self, cores: int) -> list[str]:
        return warnings_of(self.launches, self.judgement, self.effect, cores, objective(self.goal))


class Claims:
    """Makes the claims of one tuning."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        *,
        least_gain: float,
        deterministic: bool,
        paces: Callable[[Sequence[Change]], Paces],
        to_the_end: bool,
        goal: Goal,
        quality: str | None,
        first_value: int | None,
        time_left: Callable[[], float],
        progress: Callable[[str], None],
    ) -> None:
        self.engine, self.journal = engine, journal
        self.least_gain, self.deterministic = least_gain, deterministic
        #: What the launches of a set take.
        self.paces = paces
        self.to_the_end = to_the_end
        self.goal, self.quality = goal, quality
        #: The step after which the baseline has the first value of that; None where it was not seen.
        self.first_value = first_value
        #: What no time was left for, a sentence each.
        self.unproven: list[str] = []
        #: Changes that were left out of a second claim, with the reason.
        self.dropped: dict[str, str] = {}
        #: Why the launches of the last claim could not be made.
        self.failed: str | None = None
        #: Whether a claim ended because its time was up.
        self.cut_short = False
        self.time_left, self.progress = time_left, progress

    def prove(self, changes: Sequence[Change], alpha: float = ALPHA) -> Claim | None:
        """Claim the set; where it is faster but another training, what of it may be the same.

        ``alpha``: how often all of it may err. Losses decide whether the first claim counts, so those after it do not
        share with it, but with each other.
        """
        if strictest([change.numerics for change in changes]) == "trajectory":
            # What of it trains the same has been claimed before.
            return self.claim(changes, alpha)
        exact = [change for change in changes if change.numerics == "exact"]
        others = [change for change in changes if change.numerics != "exact"]
        last = len(others) < 2 and not (exact and others)
        claim = self.claim(changes, alpha, last=last) if changes else None
        if claim is None and self.failed is not None and exact and others:
            why = f"dropped again: {self.failed}"
            self.dropped.update({change.id: why for change in others})
            return self.claim(exact, alpha)
        faster = claim is not None and (claim.judgement == "faster" or claim.is_another)
        if claim is not None and claim.is_another and len(others) > 1 and self.may_ask(others):
            culprit = self.culprit(others, claim)
            rest = [change for change in changes if change is not culprit]
            self.progress(f"{names(changes)} is another training; once more without {culprit.id}")
            alpha /= 2 if exact else 1
            second = self.claim(rest, alpha, last=not exact)
            if second is not None:
                self.dropped[culprit.id] = f"dropped again, {claim.difference}"
                claim = second
        if claim is not None and faster and not claim.holds and exact and others:
            claim = self.claim(exact, alpha) or claim
        return claim

    def may_ask(self, changes: Sequence[Change]) -> bool:
        """Whether there is time to find the one that makes it another training, or it has been found before."""
        if all(f"alone {change.id}" in self.journal.entries for change in changes[:-1]):
            return True
        return self.has_time(changes, f"{names(changes)} without what makes it another training")

    def culprit(self, changes: Sequence[Change], claim: Claim) -> Change:
        """The change that alone moves the losses of the claim's first seed most.

        The last one tried is not asked where the others together move them by less than half of what all do.
        """
        first = claim.launches[0]

        def shift(losses: Sequence[float | None]) -> float:
            steps = min(len(losses), len(first.baseline))
            ends = [tail(each, steps, first.smaller) for each in (first.baseline, losses)]
            return math.inf if ends[0] is None or ends[1] is None else abs(ends[1] - ends[0])

        def alone(change: Change) -> float:
            asked = Curving(changes=[change], steps=len(first.baseline), name=f"alone-{change.id[:80]}", short=True)
            return shift(
                self.journal.once(f"alone {change.id}", list[float | None], lambda: self.engine.map(curve, [asked])[0])
            )

        shifts = {change.id: alone(change) for change in changes[:-1]}
        if sum(shifts.values()) < shift(first.candidate) / 2:
            return changes[-1]
        shifts[changes[-1].id] = alone(changes[-1])
        return max(changes, key=lambda change: shifts[change.id])

    def claim(self, changes: Sequence[Change], alpha: float, *, last: bool = True) -> Claim | None:
        """None where no time is left for a first look, or where its launches fail, see ``failed``.

        The journal keeps what has been measured for a longer budget.

        ``last``: nothing of it will be claimed again, so its first look may take all the time that is left.
        """
        called, self.failed = names(changes), None
        if f"prove {called} 0" not in self.journal.entries and not self.has_time(changes, called):
            return None
        seconds, pace = self.time_left(), self.paces(changes).mean
        fewest = self.fewest_steps(changes)
        needed = first_look_seconds(pace, fewest)
        if fewest > FEWEST_STEPS and needed > seconds and f"steps {called}" not in self.journal.entries:
            self.cut_short = True
            self.unproven.append(
                f"{called} was not compared by {self.quality}, which first comes after {self.first_value} steps: "
                f"launches of so many take {needed:.0f} s, and {max(0.0, seconds):.0f} s of the budget are left; "
                "the same command again goes on from here"
            )
            return None
        if not last and seconds >= FIRST_LOOKS * first_look_seconds(pace):
            seconds /= FIRST_LOOKS
        steps = self.journal.once(f"steps {called}", int, lambda: max(fewest, proof_steps(pace, seconds)))
        self.progress(f"proving {called} in fresh processes of {steps} steps, a seed for each pair")

        def pairs(numbers: Sequence[int]) -> list[Launch]:
            asked = {f"prove {called} {number}": number for number in numbers}
            return self.journal.all_of(asked, Launch, lambda missing: self.launches(changes, missing, steps))

        numerics = strictest([change.numerics for change in changes])
        given_up = False

        def surely(launches: Sequence[Launch]) -> bool:
            nonlocal given_up
            given_up = numerics == "rounding" and surely_another(
                [launch.baseline for launch in launches],
                [launch.candidate for launch in launches],
                without(launches),
            )
            return given_up

        least = LEAST_MEMORY if self.goal == "memory" else self.least_gain
        try:
            launches, measured, judgement = prove(
                pairs,
                alpha,
                least,
                self.progress,
                self.time_left,
                objective(self.goal),
                self.engine.apart,
                surely,
                recorded=lambda number: f"prove {called} {number}" in self.journal.entries,
            )
        except CandidateFailed as error:
            self.failed = f"it failed in the proof: {error}"
            self.progress(f"{called}: {self.failed}")
            return None
        speed = effect([launch.ratio for launch in launches], measured.confidence)
        if self.goal == "memory" and judgement == "faster" and speed.ratio < SPEED_FLOOR:
            judgement = "not faster"
        same = same_training(
            launches,
            numerics,
            deterministic=self.deterministic,
            quality=self.quality,
            alters_loss=any(change.alters_loss for change in changes),
        )
        if judgement == "unclear" and len(launches) < PLANNED_LOOKS[-1] and not given_up:
            self.cut_short = True
        return Claim(
            changes=self.applied(changes, launches),
            launches=launches,
            effect=measured,
            judgement=judgement,
            same=same,
            speed=speed,
            goal=self.goal,
            given_up=given_up,
        )

    def fewest_steps(self, changes: Sequence[Change]) -> int:
        """Steps that a launch has at the least: another training has to come to a value of what it is judged by."""
        other = strictest([change.numerics for change in changes]) == "trajectory"
        return steps_to(self.first_value if other else None)

    def has_time(self, changes: Sequence[Change], called: str) -> bool:
        """Whether a first look at these fits into what is left; else it is said, and the same command again goes on."""
        needed, left = first_look_seconds(self.paces(changes).mean), self.time_left()
        if left >= needed * HASTE:
            return True
        self.cut_short = True
        self.unproven.append(
            f"{called} was not proven: {needed:.0f} s are needed for it, and {max(0.0, left):.0f} s of the budget are "
            "left; the same command again goes on from here"
        )
        self.progress(self.unproven[-1])
        return False

    def applied(self, changes: Sequence[Change], launches: Sequence[Launch]) -> list[Change]:
        """Without what did nothing in any of the launches: they prove the set without it."""
        idle = set.intersection(*(set(launch.unapplied) for launch in launches))
        left = []
        for change in changes:
            why = [text for text in idle if text.partition(" ")[0] in change.inject]
            self.unproven += [f"{change.id} is left out, since it did nothing in the proof: {text}" for text in why]
            if not why:
                left.append(change)
        return left

    def launches(self, changes: Sequence[Change], numbers: Sequence[int], steps: int) -> list[Launch]:
        asked = [
            Launching(changes=list(changes), number=number, steps=steps, to_the_end=self.to_the_end)
            for number in numbers
        ]
        return self.engine.map(launch, asked)

    def exact_ones(self, changes: Sequence[Change], repeated: Sequence[float | None]) -> list[Trial]:
        """Trials of those changes that should not alter a loss and do, from the first step on.

        What was tried beside changes that were switched in a running training has not been asked this before.
        ``repeated`` are the losses that the training gives each time.
        """
        suspects = [change for change in changes if change.numerics == "exact"]
        if not suspects or self.same_losses(suspects, repeated) is None:
            return []
        guilty = []
        for change in suspects:
            why = self.same_losses([change], repeated)
            if why is not None:
                guilty.append(
                    Trial(
                        change=change,
                        against=[],
                        effect=None,
                        judgement="unclear",
                        kept=False,
                        why=f"dropped again, not the same training: {why}",
                    )
                )
        return guilty

    def same_losses(self, changes: Sequence[Change], repeated: Sequence[float | None]) -> str | None:
        """What differs; None where nothing does, or nothing is known."""
        steps = min(EXACT_STEPS, len(repeated))

        asked = Curving(changes=list(changes), steps=steps, name=f"exact-{names(changes)[:80]}")
        losses = self.journal.once(
            f"exact {names(changes)}", list[float | None], lambda: self.engine.map(curve, [asked])[0]
        )
        same, why = identical(repeated[:steps], losses)
        return why if same is False else None


def names(changes: Sequence[Change]) -> str:
    return "+".join(change.id for change in changes)
