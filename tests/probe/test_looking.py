"""Which steps are looked at from close by, and that a look which fails is given up."""

from __future__ import annotations

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

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [(self.name, {"steps": self.steps})]


def watched(looks: Looks, steps: int, longer: int = 0) -> list[int]:
    """Return which of so many steps of 10 ms are watched; watching one takes ``longer`` nanoseconds more."""
    found, now, watching = [], 0, False
    for number in range(1, steps):
        took = 10 * MS + (longer if watching else 0)
        now += took
        if watching or number == looks.next:
            watching = looks.between(number, now, took)
        if watching:
            found.append(number)
    return found


def test_each_has_its_turn_and_later_ones_are_rarer() -> None:
    first, second = Watching("first"), Watching("second")
    found = watched(Looks([first, second]), 400)
    assert found[:2] == [FIRST, FIRST + 2]
    gaps = [later - earlier for earlier, later in pairwise(found[1:])]
    assert gaps == sorted(gaps)
    assert gaps[0] >= 8
    assert abs(first.steps - second.steps) <= 1


def test_what_takes_long_is_done_seldom() -> None:
    """Looks that take a step's time each may take half a per cent of the training."""
    found = watched(Looks([Watching("slow")]), 2000, longer=10 * MS)
    assert len(found) <= 2 + 2000 * 0.005


def test_one_may_watch_several_steps_and_the_next_pays_for_its_end() -> None:
    look = Watching("long", span=3)
    assert watched(Looks([look]), 12) == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]


def test_one_that_fails_is_given_up_and_the_others_go_on() -> None:
    good = Watching("good")
    bad = [Watching("begins badly", fails_at="begin"), Watching("ends badly", fails_at="end")]
    looks = Looks([*bad, good])
    watched(looks, 100)
    assert good.steps
    assert not any(look.open for look in bad)
    assert [kind for kind, _ in looks.lines()] == ["good"]


def test_the_end_of_the_training_ends_a_look() -> None:
    look = Watching("last", span=3)
    looks = Looks([look])
    looks.between(FIRST, 0, 1)
    looks.stop()
    assert not look.open
    assert looks.next == -1


def test_several_turns_are_one_account() -> None:
    look = Watching("often")
    assert Looks([look, look, look]).lines() == [("often", {"steps": 0})]
