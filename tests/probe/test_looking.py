"""Which steps are looked at from close by, and that a look which fails is given up."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

from hotlap.probe.looking import FIRST, Looks

MS = 1_000_000


class Watching:
    def __init__(self, name: str, span: int = 1, fails_at: str = "") -> None:
        self.name = name
        self.span = span
        self.fails_at = fails_at
        self.steps = 0
        self.open = False

    def begin(self) -> None:
        self.open = True
        if self.fails_at == "begin":
            raise RuntimeError(self.name)

    def end(self) -> None:
        self.open = False
        self.steps += self.span
        if self.fails_at == "end":
            raise RuntimeError(self.name)

    def undo(self) -> None:
        self.open = False

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [(self.name, {"steps": self.steps})]


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def watched(each: list[Any], steps: int, longer: int = 0, ending: int = 0) -> list[int]:
    """Return which of so many steps of 10 ms are watched.

    Watching one takes ``longer`` nanoseconds more, and ending that another ``ending``.
    """
    clock = Clock()
    looks = Looks(each, clock)
    for look in each:
        look.end = functools.partial(_takes, clock, ending, look.end)
    found, watching = [], False
    for number in range(1, steps):
        took = 10 * MS + (longer if watching else 0)
        clock.now += took
        if watching or number == looks.next:
            watching = looks.between(number, clock.now, took)
        if watching:
            found.append(number)
    return found


def _takes(clock: Clock, nanoseconds: int, action: Any) -> None:
    clock.now += nanoseconds
    action()


def test_each_has_its_turn_and_later_ones_are_rarer() -> None:
    first, second = Watching("first"), Watching("second")
    found = watched([first, second], 400)
    assert found[0] == FIRST
    assert 2 <= found[1] - FIRST <= 3
    gaps = [later - earlier for earlier, later in pairwise(found[1:])]
    # Rarer and rarer, but in no rhythm: workers have one.
    assert all(later >= earlier - 2 for earlier, later in pairwise(gaps))
    assert gaps[-1] > 2 * gaps[0]
    assert gaps[0] >= 8
    assert abs(first.steps - second.steps) <= 1


def test_what_takes_long_is_done_seldom() -> None:
    """Looks that take a step's time each may take half a per cent of the training."""
    found = watched([Watching("slow")], 2000, longer=10 * MS)
    assert len(found) <= 2 + 2000 * 0.005


def test_one_may_watch_several_steps_and_the_next_pays_for_its_end() -> None:
    look = Watching("long", span=3)
    assert watched([look], 12) == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]


class StepByStep(Watching):
    over = 0

    def step_over(self) -> None:
        self.over += 1
        if self.fails_at == "step_over":
            raise RuntimeError(self.name)


def test_one_that_concludes_step_by_step_hears_of_each_and_is_kept_when_cut_off() -> None:
    look = StepByStep("long", span=3)
    assert watched([look], 12) == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]
    assert look.over == 2
    looks = Looks([look], Clock())
    looks.between(FIRST, 0, 1)
    looks.stop()
    assert [kind for kind, _ in looks.lines()] == ["long"]
    failing = StepByStep("long", span=3, fails_at="step_over")
    assert watched([failing], 9) == [FIRST, FIRST + 1]
    assert not failing.open


def test_one_may_leave_its_turn_out() -> None:
    first, second = Watching("first", span=0), Watching("second")
    assert watched([first, second], 20)[:1] == [FIRST + 2]
    assert not first.steps


def test_several_steps_in_a_row_are_no_longer_than_they_are() -> None:
    """What a look costs is what its steps take beyond usual ones, so the next turn is no later for watching more."""
    assert watched([Watching("long", span=5)], 40) == [*range(FIRST, FIRST + 6), *range(FIRST + 16, FIRST + 22)]


def test_one_that_fails_is_given_up_and_the_others_go_on() -> None:
    good = Watching("good")
    bad = [Watching("begins badly", fails_at="begin"), Watching("ends badly", fails_at="end")]
    looks = Looks([*bad, good], Clock())
    watching = False
    for number in range(1, 100):
        if watching or number == looks.next:
            watching = looks.between(number, number, 1)
    assert good.steps
    assert not any(look.open for look in bad)
    assert [kind for kind, _ in looks.lines()] == ["good"]


def test_the_end_of_the_training_ends_a_look() -> None:
    look = Watching("last", span=3)
    looks = Looks([look], Clock())
    looks.between(FIRST, 0, 1)
    looks.stop()
    assert not look.open
    assert looks.next == -1
    # The last step is closed after that.
    assert not looks.between(FIRST + 1, 2, 1)
    assert not look.open


def test_a_recording_that_ends_undoes_and_concludes_nothing() -> None:
    look = Watching("last")
    looks = Looks([look], Clock())
    looks.between(FIRST, 0, 1)
    looks.undo()
    assert not look.open
    assert not look.steps
    assert not looks.between(FIRST + 1, 2, 1)


def test_what_takes_long_to_end_does_it_in_a_step_that_counts_as_watched() -> None:
    look = Watching("account")
    found = watched([look], 3000, ending=10 * MS)
    assert found[:2] == [FIRST, FIRST + 1]
    assert look.steps <= 2 + 3000 * 0.005
    assert watched([Watching("quick")], 12, ending=MS // 10)[:1] == [FIRST]


def test_several_turns_are_one_account() -> None:
    look = Watching("often")
    assert Looks([look, look, look], Clock()).lines() == [("often", {"steps": 0})]
