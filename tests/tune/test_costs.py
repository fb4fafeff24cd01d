from __future__ import annotations

from hotlap.records import Change
from hotlap.tune.costs import CLOSING, Costs, Time, reserved, until_others
from hotlap.tune.paces import Pace


def change(name: str, *, live: bool = True) -> Change:
    return Change(name=name, value="1", title="", numerics="rounding", live=live)


def test_the_shortest_compilation_says_what_one_takes() -> None:
    """What other trials take at least is known; how long one stays unclear is luck."""
    costs = Costs(Pace(0.1, 4.0))
    usual = costs.of([change("precision")])
    started = costs.of([change("precision"), change("workers", live=False)])
    assert costs.of([change("precision"), change("compile")]) > started == usual + 4.0
    costs.learn([change("compile")], 80.0)
    assert costs.of([change("layout"), change("compile")]) == 80.0
    assert costs.of([change("layout")]) == usual
    for seconds in (90.0, 12.0, 31.0):
        costs.learn([change("compile")], seconds)
    assert costs.of([change("compile")]) == 12.0
    costs.learn([change("layout")], 28.0)
    costs.learn([change("workers", live=False)], 28.0)
    assert costs.of([change("precision")]) == usual
    assert costs.of([change("workers", live=False)]) == started


def test_slow_steps_and_starts_make_trials_long() -> None:
    """A first look takes so many blocks, and each of them so many steps."""
    kinds = [[change("precision")], [change("workers", live=False)], [change("compile")]]
    assert [Costs(Pace(0.01, 2.0)).of(kind) for kind in kinds] == [5.0, 7.0, 15.0]
    assert [Costs(Pace(1.0, 9.0)).of(kind) for kind in kinds] == [40.0, 49.0, 40.0]
    alone = Costs(Pace(1.0, 9.0), shares=False)
    assert [alone.of(kind) for kind in kinds] == [49.0, 49.0, 49.0], "each in a process of its own"
    assert Costs(Pace(1.0, 9.0)).of(kinds[0], 0.1) == 5.0, "on top of a set that is faster"


def test_what_took_longer_than_it_was_given_is_not_begun_with_as_little() -> None:
    costs = Costs(Pace(0.1, 4.0))
    costs.too_late([change("compile"), change("layout")], 57.0)
    assert costs.of([change("layout"), change("compile")]) == costs.given([change("layout"), change("compile")]) == 57.0
    assert costs.of([change("compile")]) < 57.0
    assert costs.given([change("compile")]) == 0.0


def test_half_of_what_is_left_is_kept_for_other_trainings() -> None:
    """All of it where they were named, and half of it is hardly more than a proof."""
    assert until_others(100.0, 600.0, 60.0, named=True) == until_others(100.0, 600.0, 60.0, named=False) == 350.0
    assert until_others(100.0, 200.0, 60.0, named=False) == 150.0
    assert until_others(100.0, 200.0, 60.0, named=True) == 100.0


def test_the_proof_has_time_for_a_second_claim() -> None:
    """Where that leaves the search enough."""
    assert reserved(600.0, 100.0) == 200.0
    assert reserved(360.0, 100.0) == 144.0
    assert reserved(600.0, 10.0) == 150.0


def test_what_is_kept_for_a_proof_is_the_searchs_while_there_is_nothing_to_prove() -> None:
    """But for one hasty first look; all of it where there is too little even for that."""
    for spent, left in ((50.0, 19.0), (70.0, 20.0)):
        time = Time(90.0, lambda spent=spent: spent)  # type: ignore[misc]
        time.begin(30.0, 0.0, others=False, named=False)
        assert time.for_search() == 90.0 - spent - 36.0
        time.found(30.0, 0.0)
        assert time.for_search() == 90.0 - spent - 36.0
        assert time.nothing_to_prove()
        assert time.for_search() == left
        time.found(30.0, 0.0)
        assert time.for_search() == 90.0 - spent - 36.0


def test_what_was_found_is_proven_before_other_trainings() -> None:
    """In the time that is kept for them, as far as a first look goes; they get what that leaves."""
    spent = 34.0
    time = Time(90.0, lambda: spent)
    time.begin(38.0, 0.0, others=True, named=False)
    assert time.left() == 28.0
    spent = 49.0
    assert time.left() == 13.0
    time.something_to_prove()
    assert time.left() == 38.0
    spent = 60.0
    time.something_to_prove()
    assert time.left() == 30.0, "no more than the budget"
    time.begin_others(0.0)
    assert (time.left(), time.for_search()) == (30.0, 18.0)


def test_all_that_is_left_may_be_kept_for_other_trainings() -> None:
    """Where the user named them, and half of it is too short."""
    time = Time(90.0, lambda: 34.0)
    time.begin(38.0, 0.0, others=True, named=True)
    assert time.for_others
    assert not time.nothing_to_prove()
    assert time.left() == 0.0
    time.begin_others(0.0)
    assert not time.for_others
    assert time.left() == 56.0


def test_running_the_patched_script_has_its_time() -> None:
    """No more than a share of the budget; neither the search nor the proof gets it."""
    time = Time(100.0, lambda: 40.0)
    time.begin(10.0, 8.0, others=False, named=False)
    assert (time.left(), time.for_search()) == (52.0, 52.0 - 0.25 * 92.0)
    time.begin(10.0, 50.0, others=True, named=False)
    assert CLOSING == 0.15
    assert time.left() == 0.5 * (60.0 - 15.0)
    time.begin_others(0.0)
    assert time.left() == 45.0


def test_what_starts_late_leaves_the_search_less() -> None:
    """Where what was found compiles, the proof's launches do, and the patched script."""
    time = Time(100.0, lambda: 40.0)
    time.begin(10.0, 4.0, others=False, named=False)
    time.found(17.0, 9.0)
    assert (time.left(), time.for_search()) == (51.0, 51.0 - 34.0)
    time.found(5.0, 2.0)
    assert time.left() == 51.0, "what was found before is still to be proven"
