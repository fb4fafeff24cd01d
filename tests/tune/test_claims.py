"""What is claimed after a set turned out to be another training; the launches here are made up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from diagnosed import DIAGNOSIS

from hotlap.records import Change, Facts, NumericsClass
from hotlap.tune.arms import CandidateFailed
from hotlap.tune.claims import Claim, Claims, names
from hotlap.tune.journal import Journal
from hotlap.tune.paces import Pace, Paces
from hotlap.tune.proof import FEWEST_STEPS, Launch, first_look_seconds, proof_steps
from hotlap.tune.proof import STEPS as STEPS_OF_A_PROOF
from hotlap.tune.work import Curving, Launching

STEPS = 30
PACE = Pace(0.1, 1.0)


def change(name: str, numerics: NumericsClass) -> Change:
    return Change(name=name, value="1", title=name, numerics=numerics, inject={name: True})


EXACT, SMALL, LARGE = change("exact", "exact"), change("small", "rounding"), change("large", "rounding")
#: How far each moves the losses, and what each multiplies the throughput by.
SHIFT = {"exact": 0.0, "small": 0.001, "large": 0.5}
SPEED = {"exact": 1.1, "small": 1.2, "large": 2.0}


class Made:
    """An engine whose trainings differ between seeds by 0.05."""

    slots = apart = 1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def settle(self, facts: Facts, *, shares: bool) -> None: ...

    def close(self) -> None: ...

    def map(self, work: Callable[[Any, Any], Any], asked: Sequence[Any]) -> list[Any]:
        return [self.answer(each) for each in asked]

    def answer(self, asked: Launching | Curving) -> Any:
        shift = sum(SHIFT[each.name] for each in asked.changes)
        if isinstance(asked, Curving):
            self.asked.append(f"curve {'+'.join(each.name for each in asked.changes)}")
            return [1 + shift] * STEPS
        noise = random.Random(asked.number)
        start = 1 + (0.05 * (-1) ** asked.number if asked.number else 0.0)
        ratio = 1.0
        for each in asked.changes:
            ratio *= SPEED[each.name]
        self.asked.append("+".join(each.name for each in asked.changes))
        return Launch(
            ratio=ratio * noise.uniform(0.99, 1.01),
            baseline=[start] * STEPS,
            candidate=[start + shift] * STEPS,
            baseline_quality={},
            candidate_quality={},
            seconds=1.0,
            baseline_diagnosis=DIAGNOSIS,
            diagnosis=DIAGNOSIS,
        )


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Made, Claims]]:
    engine, journal = Made(), Journal(tmp_path)
    yield (
        engine,
        Claims(
            engine,
            journal,
            least_gain=0.02,
            deterministic=False,
            paces=lambda changes: Paces(PACE, PACE),
            to_the_end=False,
            goal="throughput",
            quality=None,
            first_value=None,
            time_left=lambda: 1e6,
            progress=lambda line: None,
        ),
    )
    journal.close()


def sets(engine: Made) -> list[str]:
    """What was asked, in order, each once."""
    return list(dict.fromkeys(engine.asked))


def test_the_same_training_is_claimed_once(made: tuple[Made, Claims]) -> None:
    engine, claims = made
    claim = claims.prove([EXACT, SMALL])
    assert claim is not None
    assert claim.holds
    assert sets(engine) == ["exact+small"]
    assert claims.dropped == {}


def test_what_alone_moves_the_losses_is_left_out(made: tuple[Made, Claims]) -> None:
    """The rest is claimed again, and is what is adopted."""
    engine, claims = made
    claim = claims.prove([EXACT, SMALL, LARGE])
    assert claim is not None
    assert claim.holds
    assert claim.changes == [EXACT, SMALL]
    assert sets(engine) == ["exact+small+large", "curve small", "exact+small"]
    # Three seeds show that it is another training.
    assert engine.asked.count("exact+small+large") == 3
    assert list(claims.dropped) == [LARGE.id]
    assert "not the same training: over 3 seeds" in claims.dropped[LARGE.id]


def test_the_order_of_the_changes_does_not_matter(made: tuple[Made, Claims]) -> None:
    """Where the first one moves the losses, the last one is asked as well."""
    engine, claims = made
    claim = claims.prove([LARGE, SMALL])
    assert claim is not None
    assert claim.holds
    assert claim.changes == [SMALL]
    assert sets(engine) == ["large+small", "curve large", "curve small", "small"]


@pytest.mark.parametrize(("table", "figure"), [(SHIFT, 0.4), (SPEED, 0.8)], ids=["another training", "not faster"])
def test_where_the_rest_fails_too_the_exact_ones_are_left(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch, table: dict[str, float], figure: float
) -> None:
    monkeypatch.setitem(table, "small", figure)
    engine, claims = made
    claim = claims.prove([EXACT, SMALL, LARGE])
    assert claim is not None
    assert claim.holds
    assert claim.changes == [EXACT]
    assert sets(engine)[-2:] == ["exact+small", "exact"]


def test_only_claims_that_may_both_count_share_what_they_may_err(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first one counts is decided by losses."""
    _, claims = made
    given: list[tuple[str, float]] = []
    really = claims.claim

    def noted(changes: Sequence[Change], alpha: float, *, last: bool = True) -> Claim | None:
        given.append((names(changes), alpha))
        return really(changes, alpha, last=last)

    monkeypatch.setattr(claims, "claim", noted)
    claims.prove([SMALL, LARGE], 0.01)
    assert given == [(names([SMALL, LARGE]), 0.01), (names([SMALL]), 0.01)]
    given.clear()
    monkeypatch.setitem(SPEED, "small", 0.7)
    claims.prove([EXACT, SMALL, LARGE], 0.01)
    assert given == [
        (names([EXACT, SMALL, LARGE]), 0.01),
        (names([EXACT, SMALL]), 0.005),
        (names([EXACT]), 0.005),
    ]
    given.clear()
    claims.prove([EXACT, LARGE], 0.01)
    assert given == [(names([EXACT, LARGE]), 0.01), (names([EXACT]), 0.01)]


def test_a_single_one_leaves_nothing(made: tuple[Made, Claims]) -> None:
    engine, claims = made
    claim = claims.prove([LARGE])
    assert claim is not None
    assert not claim.holds
    assert (claim.given_up, claim.same.same, claim.is_another) == (True, False, True)
    assert sets(engine) == ["large"]
    assert not claims.cut_short


def test_a_shift_that_is_not_sure_is_asked_of_all_pairs(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHIFT, "large", 0.2)
    engine, claims = made
    claim = claims.prove([LARGE])
    assert claim is not None
    assert (claim.given_up, claim.judgement, claim.is_another) == (False, "faster", True)
    assert len(engine.asked) == 5


def test_without_time_the_first_claim_stays(made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command goes on with the second."""
    _, claims = made
    left = iter([1e6] * 3)
    monkeypatch.setattr(claims, "time_left", lambda: next(left, 0.0))
    claim = claims.prove([SMALL, LARGE])
    assert claim is not None
    assert claim.changes == [SMALL, LARGE]
    assert not claim.holds
    assert claims.dropped == {}
    assert "the same command again goes on" in claims.unproven[0]
    assert claims.cut_short


@pytest.mark.parametrize(("changes", "share"), [([SMALL, LARGE], 2), ([EXACT, SMALL], 2), ([LARGE], 1), ([EXACT], 1)])
def test_a_first_claim_leaves_time_for_the_second(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch, changes: list[Change], share: int
) -> None:
    """Half of it, where two first looks fit; else it takes all."""
    _, claims = made
    left = 3 * first_look_seconds(PACE)
    monkeypatch.setattr(claims, "time_left", lambda: left)
    claims.prove(changes)
    steps = claims.journal.entries[f"steps {names(changes)}"]
    assert steps == proof_steps(PACE, left / share)
    assert steps < STEPS_OF_A_PROOF


@pytest.mark.parametrize(("exact", "share"), [([EXACT], 2), ([], 1)], ids=["a third may follow", "it is the last"])
def test_a_second_claim_leaves_time_for_a_third(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch, exact: list[Change], share: int
) -> None:
    """Where what is left of it may be another training, too, the exact ones by themselves come after it."""
    _, claims = made
    left = 3 * first_look_seconds(PACE)
    monkeypatch.setattr(claims, "time_left", lambda: left)
    claims.prove([*exact, SMALL, LARGE])
    assert claims.journal.entries[f"steps {names([*exact, SMALL])}"] == proof_steps(PACE, left / share)


def test_a_first_claim_takes_all_where_there_is_no_time_for_two(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, claims = made
    left = 1.5 * first_look_seconds(PACE)
    monkeypatch.setattr(claims, "time_left", lambda: left)
    claims.prove([SMALL, LARGE])
    steps = claims.journal.entries[f"steps {names([SMALL, LARGE])}"]
    assert steps == proof_steps(PACE, left) > FEWEST_STEPS


def test_what_fails_in_the_proof_is_dropped_and_the_rest_is_proven(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact ones of it, as where it is another training; a set of which nothing is left is told."""
    engine, claims = made
    answer = engine.answer

    def failing(asked: Launching | Curving) -> Any:
        if LARGE in asked.changes:
            raise CandidateFailed("the training crashed after 3 steps: out of memory")
        return answer(asked)

    monkeypatch.setattr(engine, "answer", failing)
    claim = claims.prove([EXACT, LARGE])
    assert claim is not None
    assert (claim.changes, claim.holds) == ([EXACT], True)
    assert claims.dropped == {
        LARGE.id: "dropped again: it failed in the proof: the training crashed after 3 steps: out of memory"
    }
    claims.dropped.clear()
    assert claims.prove([LARGE]) is None
    assert claims.failed is not None
    assert claims.failed.endswith("out of memory")
    assert not claims.cut_short


@pytest.mark.parametrize(("enough", "steps"), [(True, 502), (False, None)])
def test_another_training_is_taken_to_a_value_of_what_it_is_judged_by(
    made: tuple[Made, Claims], monkeypatch: pytest.MonkeyPatch, enough: bool, steps: int | None
) -> None:
    """Where no launch can be so long in the time that is left, it is not begun."""
    _, claims = made
    other = change("other", "trajectory")
    monkeypatch.setitem(SHIFT, "other", 0.0)
    monkeypatch.setitem(SPEED, "other", 2.0)
    claims.first_value, claims.quality = 500, "psnr"
    left = first_look_seconds(PACE, 502)
    monkeypatch.setattr(claims, "time_left", lambda: left if enough else left - 1)
    claim = claims.prove([other])
    assert (claim is not None) == enough
    assert claims.journal.entries.get("steps other=1") == steps
    assert claims.cut_short is not enough
    assert (
        any("was not compared by psnr, which first comes after 500 steps" in each for each in claims.unproven) != enough
    )
    claims.prove([SMALL])
    assert claims.journal.entries["steps small=1"] < 502
