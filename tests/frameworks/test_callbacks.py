"""The callbacks, with the real packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fits import Fitted


@pytest.mark.parametrize(
    ("training", "metric", "after"),
    [
        ("lightning_fit accumulating callback", "val_loss", [8, 16]),
        ("lightning_fit manual callback", "val_loss", [16, 32]),
        ("hf_trainer callback", "eval_loss", [6, 12, 14]),
    ],
)
def test_callbacks(
    fitted: Callable[..., Fitted], alone: Callable[..., dict[str, Any]], training: str, metric: str, after: list[int]
) -> None:
    """Steps end where the trainer says so, validations report their metrics; without a probe nothing happens."""
    run, told, output = fitted(*training.split())
    assert len(run.steps) == told["steps"], output
    assert sum(step.samples or 0 for step in run.steps) == told["samples"]
    assert [(each.name, each.step) for each in run.metrics] == [(metric, step) for step in after]
    for step in run.steps:
        assert sum(step.phases.values()) == pytest.approx(step.wall, rel=0.01)
        assert step.phases.keys() >= {"data_wait", "forward", "backward", "gradient_clip", "optimizer"}
    assert any("validation" in step.phases for step in run.steps)
    if "manual" not in training:
        assert alone(*training.split()) == told
