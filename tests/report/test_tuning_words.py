"""How a tuning is told: by its goal, how far it is from the limit, how it is adopted, speed against memory."""

from __future__ import annotations

import made_up
import msgspec
import pytest

from hotlap.records import Change, Effect, Goal, Handover, Limit, Trial, Tuning
from hotlap.report import pareto, verdicts


def effect(ratio: float) -> Effect:
    return Effect(ratio=ratio, low=ratio - 0.1, high=ratio + 0.1, n=5, confidence=0.99, pairs=[ratio] * 5)


def trial(name: str, against: list[str], ratio: float, peak: int | None) -> Trial:
    change = Change(name=name, value="on", title=name, numerics="exact")
    return Trial(
        change=change,
        against=against,
        effect=effect(ratio),
        judgement="faster",
        kept=ratio > 1,
        why="",
        peak_memory=peak,
    )


@pytest.mark.parametrize(
    ("goal", "words"), [("memory", "Smaller in memory:"), ("cost", "Cheaper:"), ("throughput", "Faster:")]
)
def test_the_headline_speaks_of_the_goal(goal: Goal, words: str) -> None:
    """A ratio of memory is no speed."""
    assert verdicts.tuning_headline(made_up.tuning(goal=goal)).startswith(words)


def test_how_far_it_is_from_the_limit_where_nothing_is_adopted() -> None:
    """Of what a large matrix product reaches: 2 GFLOP in 10 ms of 400 GFLOP/s are a half."""
    limit = Limit(flops=2e9, peak=400e9, dtype="bfloat16", step_seconds=0.01)
    rows = dict(verdicts.tuning_facts(made_up.tuning(adopted=[], limit=limit)))
    assert "50.0 % of what this machine does in a large bfloat16 matrix product" in rows["Of the limit"]


def test_what_was_not_proven_has_its_own_figures() -> None:
    """They are of a set that was not adopted, and say so."""
    claimed = [Change(name="threads", value="1", title="one thread", numerics="rounding")]
    rows = dict(verdicts.tuning_facts(made_up.tuning(adopted=[], claimed=claimed, peaks=(3 * 10**8, 2 * 10**8))))
    assert (rows["Adopted"], rows["Not proven"]) == ("nothing", "threads=1")
    assert "Its effect" in rows
    assert "Final effect" not in rows
    assert rows["Peak memory"] == "300 MB -> 200 MB, in the proof"
    assert "Final effect" in dict(verdicts.tuning_facts(made_up.tuning()))


def test_adoption_comes_in_stages() -> None:
    """Without an edit, and with the patch; what could not be written as a user would is named with the reason."""
    handover = Handover(
        patch="changes.patch",
        configurations=["my.yaml"],
        files=["train.py"],
        native=["workers"],
        by_apply={"autocast": "the model is called in two places"},
        command=["python", "train.py", "--workers=2"],
        same=True,
        evidence="the patched script was run: 24 losses bit-identical with the proven run",
        effect=effect(2.0),
    )
    made = made_up.tuning(handover=handover, directory="runs/tune-1", config=None)
    (at_once, run), (later, patch) = verdicts.adoption(made)
    assert (at_once, later) == ("In 5 minutes, the source untouched:", "In 30 minutes, with a patch:")
    assert run[0].startswith("hotlap run --with runs/tune-1/result.json")
    assert patch[0] == "git apply runs/tune-1/changes.patch    edits my.yaml, train.py"
    assert patch[1].startswith("python train.py --workers=2")
    assert "By hotlap.apply: autocast (the model is called in two places)." in patch
    assert any("2.00x" in line for line in patch)


def tuned(*trials: Trial) -> Tuning:
    made = made_up.tuning(trials=list(trials), adopted=[], peaks=None)
    return msgspec.structs.replace(made, facts=msgspec.structs.replace(made.facts, peak_device_memory=100))


def test_speeds_are_products_along_the_search() -> None:
    """And what nothing beats in both is on the front."""
    trials = [
        trial("a", [], 2.0, 150),
        trial("b", ["a=on"], 1.5, 140),
        trial("c", [], 0.5, 50),
        trial("d", [], 1.1, 200),
    ]
    found = {each.label: each for each in pareto.points(tuned(*trials))}
    assert {name: (each.speed, each.front) for name, each in found.items()} == {
        "a=on + b=on": (3.0, True),
        "a=on": (2.0, False),
        "d=on": (1.1, False),
        "baseline": (1.0, True),
        "c=on": (0.5, True),
    }


def test_the_adopted_set_is_a_point_by_its_proof() -> None:
    """And not by what the search found of it, too."""
    made = tuned(trial("a", [], 4.0, 150), trial("b", ["a=on"], 0.9, 140))
    proven = msgspec.structs.replace(made, adopted=[made.trials[0].change], peaks=(100, 150))
    found = {each.label: each.speed for each in pareto.points(proven)}
    assert found.keys() == {"baseline", "adopted", "a=on + b=on"}
    assert found["adopted"] == (proven.speed or proven.effect).ratio  # type: ignore[union-attr]


def test_a_trial_whose_memory_is_unknown_is_no_point() -> None:
    """It was switched in a process that others used, too; with nothing but the baseline there is no table."""
    assert pareto.points(tuned(trial("a", [], 2.0, None))) == []


def test_nothing_that_was_tried_for_memory_was_smaller() -> None:
    """Nobody asked for faster."""
    made = msgspec.structs.replace(tuned(trial("a", [], 0.9, 150)), goal="memory", effect=None, claimed=[])
    assert "none was proven smaller" in verdicts.tuning_headline(made)
    assert "none was proven faster" in verdicts.tuning_headline(msgspec.structs.replace(made, goal="cost"))


def test_a_finding_says_what_came_of_the_changes_against_it() -> None:
    """By themselves and with others, as they were tried last; what was not begun is not there."""
    found = made_up.finding(changes=["precision", "layout", "workers", "compile"])
    together = msgspec.structs.replace(trial("other", [], 1.3, None), beside=[trial("compile", [], 1.0, None).change])
    without = msgspec.structs.replace(trial("workers", [], 1.0, None), effect=None)
    trials = [
        trial("layout", [], 0.94, None),
        trial("optimizer", [], 1.2, None),
        together,
        msgspec.structs.replace(without, why="not at speed after 57 s: the search's share was used up"),
        msgspec.structs.replace(trial("compile", [], 1.0, None), effect=None, why="not tried: no time"),
        trial("layout", ["compile=on"], 0.97, None),
        trial("precision", ["compile=on"], 1.4, None),
    ]
    assert verdicts.tried(found, trials) == (
        "layout=on 0.97x (dropped), other=on + compile=on 1.30x (kept), workers=on (not measured), "
        "precision=on 1.40x (kept)"
    )
    assert verdicts.tried(found, [trials[1], trials[4]]) == "nothing; it could be precision, layout, workers, compile"


def test_what_no_time_was_left_for_is_told_by_its_reason() -> None:
    """Each once, however often it was asked for; what was begun stays in the table."""
    late = [
        msgspec.structs.replace(trial(name, [], 1.0, None), effect=None) for name in ("workers", "layout", "compile")
    ]
    for_time = [msgspec.structs.replace(each, why="not tried: the share was used up") for each in late[:2]]
    ended = msgspec.structs.replace(late[2], why="not at speed after 57 s: the share was used up")
    tried, untimed = verdicts.begun([trial("precision", [], 1.4, None), *for_time, ended, *for_time])
    assert [each.id for each in tried] == ["precision=on", "compile=on"]
    assert untimed == {"the share was used up": ["workers=on", "layout=on"]}
