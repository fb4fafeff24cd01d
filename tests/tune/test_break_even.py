"""A longer start is charged against the steps that are planned."""

from __future__ import annotations

import pytest

from hotlap.records import Change, Effect, Trial
from hotlap.tune.break_even import break_even, charged


def trial(ratio: float, extra: float | None) -> Trial:
    return Trial(
        change=Change(name="compile", value="default", title="torch.compile", numerics="rounding"),
        against=[],
        effect=Effect(ratio=ratio, low=ratio, high=ratio, n=4, confidence=0.95, pairs=[ratio] * 4),
        judgement="faster",
        kept=True,
        why="faster",
        extra_start=extra,
    )


@pytest.mark.parametrize(
    ("extra", "ratio", "steps"), [(40.0, 2.0, 800), (0.0, 2.0, 0), (-1.0, 0.5, 0), (40.0, 1.0, None), (1.0, 0.5, None)]
)
def test_break_even(extra: float, ratio: float, steps: int | None) -> None:
    """Steps of 0.1 s: what is saved in each of them pays the start back."""
    assert break_even(extra, 0.1, ratio) == steps


def test_a_training_that_is_too_short_does_not_compile() -> None:
    """40 s of compiling, 0.05 s saved in a step: 800 steps pay for it, and so many must be planned and more."""
    assert charged(trial(2.0, 40.0), 0.1, 10_000, 0.02).kept
    short = charged(trial(2.0, 40.0), 0.1, 800, 0.02)
    assert not short.kept
    assert "earned back after 800 steps; 800 are planned" in short.why


def test_nothing_is_charged_where_the_length_is_unknown() -> None:
    """Nor where the start was not measured, or is no longer."""
    assert charged(trial(2.0, 40.0), 0.1, None, 0.02).kept
    assert charged(trial(2.0, None), 0.1, 10, 0.02).kept
    assert charged(trial(2.0, -1.0), 0.1, 10, 0.02).kept
