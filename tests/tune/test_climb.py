"""The search on made-up machines, where the best set is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hotlap.records import Change, Effect, Judgement, Trial
from hotlap.tune.climb import Climb, likeliest

#: Seconds of a step with these changes.
Machine = Callable[[set[str]], float]


def change(name: str, value: str = "on") -> Change:
    return Change(name=name, value=value, title=f"{name} {value}", numerics="rounding")


def climb(machine: Machine, changes: Sequence[Change], slots: int = 1) -> Climb:
    """Search on a machine without noise, where gains of 2 % count."""

    def one(best: Sequence[Change], tried: Sequence[Change]) -> Trial:
        names = {each.name for each in tried}
        after = [each for each in best if each.name not in names] + list(tried)
        ratio = machine({each.id for each in best}) / machine({each.id for each in after})
        measured = Effect(ratio=ratio, low=ratio, high=ratio, n=4, confidence=0.95, pairs=[ratio] * 4)
        kept = ratio > 1.02
        return Trial(
            change=tried[0],
            beside=list(tried[1:]),
            against=[each.id for each in best],
            effect=measured,
            judgement="faster" if kept else "not faster",
            kept=kept,
            why="",
        )

    def attempt(best: Sequence[Change], sets: Sequence[Sequence[Change]]) -> list[Trial]:
        assert 0 < len(sets) <= slots
        return [one(best, tried) for tried in sets]

    def propose(best: Sequence[Change]) -> tuple[list[Change], list[Trial]]:
        return list(changes), []

    made = Climb(propose, attempt, slots=slots)
    made.run()
    return made


def best(made: Climb) -> set[str]:
    return {each.id for each in made.best}


def test_what_pays_only_together_is_found() -> None:
    """bfloat16 and channels last each lose alone; so does the compiler without them."""

    def machine(on: set[str]) -> float:
        if {"precision=on", "layout=on"} <= on:
            return 0.4 if "compile=on" in on else 0.5
        return 1.0 + 0.1 * len(on)

    for slots in (1, 2, 5):
        made = climb(machine, [change("precision"), change("layout"), change("compile")], slots)
        assert best(made) == {"precision=on", "layout=on", "compile=on"}


def test_two_of_three_that_need_each_other_are_found() -> None:
    """The third, which spoils it, is left out."""

    def machine(on: set[str]) -> float:
        return (0.5 if {"precision=on", "layout=on"} <= on else 1.0) * (3.0 if "compile=on" in on else 1.0)

    assert best(climb(machine, [change("precision"), change("compile"), change("layout")])) == {
        "precision=on",
        "layout=on",
    }


def test_the_best_value_of_a_change_takes_the_place_of_a_good_one() -> None:
    """Two workers that of one, and four are worse than two."""
    seconds = {"workers=1": 0.8, "workers=2": 0.5, "workers=4": 0.7}

    def machine(on: set[str]) -> float:
        return min([seconds[each] for each in on], default=1.0)

    assert best(climb(machine, [change("workers", n) for n in "124"])) == {"workers=2"}


def test_what_did_not_pay_alone_is_tried_again_on_the_set() -> None:
    """A faster optimizer counts only once the model is fast."""

    def machine(on: set[str]) -> float:
        return (0.1 if "precision=on" in on else 1.0) + (0.005 if "optimizer=on" in on else 0.02)

    made = climb(machine, [change("optimizer"), change("precision")])
    assert best(made) == {"optimizer=on", "precision=on"}
    assert [trial.kept for trial in made.trials if trial.change.name == "optimizer"] == [False, True]


def test_what_was_surely_slower_is_not_tried_again() -> None:
    """Unless it may need others: the search has better things to do."""
    seconds = {"threads=on": 2.0, "optimizer=on": 0.9, "layout=on": 1.5}

    def machine(on: set[str]) -> float:
        product = 1.0
        for each in on:
            product *= seconds[each]
        return product

    made = climb(machine, [change("threads"), change("layout"), change("optimizer")])
    assert best(made) == {"optimizer=on"}
    tried = [trial.change.name for trial in made.trials]
    assert (tried.count("threads"), tried.count("layout")) == (1, 2)


def test_nothing_is_tried_twice_against_the_same_set() -> None:
    """And a search where nothing helps ends after one round."""
    made = climb(lambda on: 1.0, [change("precision"), change("layout"), change("compile"), change("optimizer")])
    asked = [(trial.title, tuple(trial.against)) for trial in made.trials]
    assert len(asked) == len(set(asked)) == 4 + 4
    assert made.best == []


def test_what_was_good_at_the_same_time_is_tried_on_top_of_the_best() -> None:
    """Two that were tried side by side may be the same gain twice, so the sum is never assumed."""
    gains = {"workers=2": 0.5, "cache=on": 0.6, "precision=on": 0.9}

    def machine(on: set[str]) -> float:
        data = min([gains[each] for each in on & {"workers=2", "cache=on"}], default=1.0)
        return data * (gains["precision=on"] if "precision=on" in on else 1.0)

    made = climb(machine, [change("cache"), change("workers", "2"), change("precision")], slots=3)
    assert best(made) == {"workers=2", "precision=on"}
    assert ["workers=2"] in [trial.against for trial in made.trials if trial.change.name == "cache"]


def test_what_is_left_is_ordered_anew_where_one_was_kept() -> None:
    """Once the data comes fast, what its wait had hidden is tried before the rest."""
    data, small, hidden = change("data"), change("small"), change("hidden")
    asked: list[str] = []

    def propose(best: Sequence[Change]) -> tuple[list[Change], list[Trial]]:
        return ([hidden, data] if data in best else [data, small, hidden]), []

    def attempt(best: Sequence[Change], sets: Sequence[Sequence[Change]]) -> list[Trial]:
        (tried,) = sets
        asked.append(tried[0].name)
        kept = tried[0] is data
        against = [each.id for each in best]
        return [Trial(change=tried[0], against=against, effect=None, judgement="unclear", kept=kept, why="")]

    Climb(propose, attempt).run()
    assert asked == ["data", "hidden", "small"]


def test_the_likeliest_is_what_looked_best_of_all_that_stayed_unclear() -> None:
    """By itself, and where it did something; nothing where no gain was seen."""

    def tried(name: str, ratio: float, judgement: Judgement = "unclear", why: str = "", on: str | None = None) -> Trial:
        effect = Effect(ratio=ratio, low=0.1, high=9.0, n=3, confidence=0.99, pairs=[ratio] * 3)
        change = Change(name=name, value="1", title=name, numerics="exact")
        return Trial(change=change, against=[on] if on else [], effect=effect, judgement=judgement, kept=False, why=why)

    best = tried("best", 1.5)
    others = [
        tried("small", 1.05),
        tried("good", 1.2),
        tried("slow", 2.0, "slower"),
        tried("idle", 3.0, why="it could not be applied: no"),
        tried("later", 4.0, on="x=1"),
    ]
    assert likeliest([*others, best]) is best
    assert likeliest([others[0], *others[2:]]) is None
    assert likeliest([]) is None
