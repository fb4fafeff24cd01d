"""What a trial takes at least: one for which no time is left is not begun; and what of the budget is the proof's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hotlap.records import Change
from hotlap.tune.arms import BLOCK_SECONDS, BLOCK_STEPS
from hotlap.tune.bench import ids
from hotlap.tune.paces import Pace
from hotlap.tune.statistics import SEARCH_LOOKS

#: Seconds that compiling takes at least.
_COMPILING = 15.0
#: Blocks of a trial at least: to get warm, and the first look's.
_BLOCKS = 2 + 2 * SEARCH_LOOKS[0]


#: Shares of the budget that are the proof's: at least, and at most.
RESERVED = (0.25, 0.4)
#: Of the time that the search has left, so that one candidate that stays unclear does not take it from all others.
SHARE_OF_A_TRIAL = 0.25


#: First looks of a proof that time is kept for: what turns out to be another training is proven once more without the
#: change that makes it one. A part of the budget that holds fewer is too short for a search and a proof.
FIRST_LOOKS = 2.0
#: What a first look needs is estimated from the baseline; a faster candidate may do with less.
HASTE = 0.7
#: The share of a budget after which the baseline is not run against itself in its own process any more.
BASELINE = 1 / 3
#: What is kept of a budget to run the patched script at the end, at most.
CLOSING = 0.15


class Costs:
    """Seconds of a first look by the baseline's pace; of the shortest compilation, once there was one."""

    def __init__(self, pace: Pace, *, shares: bool = True) -> None:
        """``shares``: whether live changes are switched in a running training; else each has a process of its own."""
        self._pace, self._shares = pace, shares
        self._compiled: float | None = None
        self._given: dict[frozenset[str], float] = {}

    def of(self, changes: Sequence[Change], step: float | None = None) -> float:
        """``step``: seconds of one, with the set that they are tried on top of."""
        least = _BLOCKS * max(BLOCK_SECONDS, (BLOCK_STEPS + 1) * (self._pace.step if step is None else step))
        if not self._shares or not all(change.live for change in changes):
            least += self._pace.first_step
        if _compile(changes):
            least = max(_COMPILING, least) if self._compiled is None else self._compiled
        return max(least, self.given(changes))

    def given(self, changes: Sequence[Change]) -> float:
        """What was too little for these, else 0."""
        return self._given.get(ids(changes), 0.0)

    def too_late(self, changes: Sequence[Change], seconds: float) -> None:
        """So many seconds were too little."""
        self._given[ids(changes)] = seconds

    def learn(self, changes: Sequence[Change], seconds: float) -> None:
        """What a trial took, all of its looks among it: of use where it compiled, which nothing else tells."""
        if _compile(changes):
            self._compiled = seconds if self._compiled is None else min(seconds, self._compiled)


def _compile(changes: Sequence[Change]) -> bool:
    return any(change.name == "compile" for change in changes)


def reserved(budget: float, first_look: float) -> float:
    """Seconds of the budget that are the proof's, whose first look takes so many."""
    least, most = (share * budget for share in RESERVED)
    return min(most, max(least, FIRST_LOOKS * first_look))


def until_others(spent: float, budget: float, first_look: float, *, named: bool) -> float:
    """Up to when what trains the same is searched and proven, where other trainings are compared after that.

    Half of what is left is kept for them; all of it where the user named them and a half would be too short.
    """
    half = (budget - spent) / 2
    return spent if named and half < FIRST_LOOKS * first_look else spent + half


class Time:
    """What of a budget is whose: the search's and the proof's, and where they are tried, other trainings' after that.

    Seconds throughout. ``spent`` tells those that are over.
    """

    def __init__(self, budget: float, spent: Callable[[], float]) -> None:
        self.whole, self.spent = budget, spent
        self.first_look = 0.0
        #: What comes after the proof: the patched script is run.
        self.closing = 0.0
        #: Up to when is searched and proven now, and how much of that is the proof's.
        self.until, self.reserved = budget, 0.0
        #: What both of them share.
        self.shared = budget
        #: Whether all that is left is kept for other trainings.
        self.for_others = False

    @property
    def budget(self) -> float:
        """The search's and the proof's."""
        return self.whole - self.closing

    def begin(self, first_look: float, closing: float, *, others: bool, named: bool) -> None:
        """With what trains the same. ``others``: other trainings are tried after that; ``named``: only by the user."""
        self.first_look, self.closing = first_look, min(closing, CLOSING * self.whole)
        self.until = self.budget
        if not others:
            self._keep(self.budget)
            return
        self.until = until_others(self.spent(), self.budget, first_look, named=named)
        self.for_others = self.until <= self.spent() < self.budget
        self._keep(max(self.left(), 0.0))

    def begin_others(self, first_look: float) -> None:
        """With other trainings, which get what is left."""
        self.first_look = max(self.first_look, first_look)
        self.until, self.for_others = self.budget, False
        self._keep(max(self.left(), 0.0))

    def nothing_to_prove(self) -> bool:
        """Give the search what is kept for a proof: but for a hasty first look, or all, where even that has no room.

        False where there is nothing to give.
        """
        if self.for_others:
            return False
        hasty = HASTE * self.first_look
        self.reserved = min(self.reserved, hasty if self.left() > hasty else 0.0)
        return True

    def found(self, first_look: float, closing: float) -> None:
        """Keep what the proof of what was found takes, and what comes after it; the search was lent some of it."""
        self.first_look = max(self.first_look, first_look)
        self.closing = max(self.closing, min(closing, CLOSING * self.whole))
        self._keep(self.shared)

    def something_to_prove(self) -> None:
        """A first look comes before other trainings."""
        self.until = min(self.budget, max(self.until, self.spent() + self.first_look))

    def left(self) -> float:
        return min(self.until, self.budget) - self.spent()

    def for_search(self) -> float:
        return self.left() - self.reserved

    def _keep(self, shared: float) -> None:
        """Divide so many seconds between the search and the proof."""
        self.shared = shared
        self.reserved = reserved(shared, self.first_look)
