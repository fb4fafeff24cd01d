from __future__ import annotations

from hotlap.records import Change, Effect, Trial
from hotlap.tune.paces import Pace, foreseen


def trial(
    name: str, ratio: float, extra: float | None = None, *, kept: bool = True, beside: tuple[str, ...] = ()
) -> Trial:
    made = [Change(name=each, value="1", title="", numerics="rounding") for each in (name, *beside)]
    return Trial(
        change=made[0],
        beside=made[1:],
        against=[],
        effect=Effect(ratio=ratio, low=ratio, high=ratio, n=3, confidence=0.95, pairs=[ratio] * 3),
        judgement="faster",
        kept=kept,
        why="",
        extra_start=extra,
    )


def test_what_was_kept_of_a_set_tells_its_pace() -> None:
    """Faster steps and later starts, of the trials that were kept and of no other."""
    trials = [trial("bf16", 2.0, -1.0), trial("compile", 1.25, 20.0), trial("workers", 4.0, 1.0, kept=False)]
    asked = [each.change for each in trials]
    paces = foreseen(asked, trials, Pace(0.5, 4.0))
    assert paces.baseline == Pace(0.5, 4.0)
    assert paces.candidate == Pace(0.2, 24.0)
    assert paces.mean == Pace(0.35, 14.0)
    assert foreseen(asked[:1], trials, Pace(0.5, 4.0)).candidate == Pace(0.25, 4.0)


def test_what_was_tried_at_once_counts_where_all_of_it_is_asked() -> None:
    both = trial("batch", 3.0, beside=("checkpointing",))
    assert foreseen([both.change, *both.beside], [both], Pace(0.3, 1.0)).candidate.step == 0.3 / 3.0
    assert foreseen([both.change], [both], Pace(0.3, 1.0)).candidate.step == 0.3
