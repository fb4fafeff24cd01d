from __future__ import annotations

from hotlap.records import Change
from hotlap.tune.costs import Costs, reserved, until_others


def change(name: str) -> Change:
    return Change(name=name, value="1", title="", numerics="rounding")


def test_the_shortest_trial_of_a_kind_says_what_one_takes() -> None:
    """A compilation says nothing of what other trials take."""
    costs = Costs()
    usual = costs.of([change("precision")])
    assert costs.of([change("precision"), change("compile")]) > usual
    costs.learn([change("compile")], 80.0)
    assert costs.of([change("layout"), change("compile")]) == 80.0
    assert costs.of([change("layout")]) == usual
    for seconds in (20.0, 12.0, 31.0):
        costs.learn([change("layout")], seconds)
    assert costs.of([change("precision")]) == 12.0


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
