"""Trainings written for Lightning, the HF Trainer and Accelerate, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fits import Fitted, files

from hotlap.diagnose import diagnose

#: Script and its arguments, and the micro-batches of a step.
TRAININGS = {
    "lightning_fit automatic": 1,
    "lightning_fit accumulating": 2,
    "lightning_fit manual": 1,
    "hf_trainer": 2,
    "accelerated": 4,
}
PHASES = {"data_wait", "forward", "loss", "backward", "gradient_clip", "optimizer"}
PHASES |= {"validation", "checkpoint", "logging", "other"}
#: Families of causes that none of these trainings has.
NOT_HERE = ("DATA", "MEMORY", "DISTRIBUTED", "NUMERICS", "CONFIG")


@pytest.mark.parametrize("training", TRAININGS)
def test_as_the_framework_counts(
    fitted: Callable[..., Fitted], alone: Callable[..., dict[str, Any]], tmp_path: Path, training: str
) -> None:
    """Steps and samples are the framework's own, all phases are seen, and the training is the same as without us."""
    run, told, output = fitted(*training.split())
    assert len(run.steps) == told["steps"], output
    assert sum(step.samples or 0 for step in run.steps) == told["samples"]
    assert {step.micro_batches for step in run.steps} == {TRAININGS[training]}
    assert {phase for step in run.steps for phase in step.phases} == PHASES
    for step in run.steps:
        assert sum(step.phases.values()) == pytest.approx(step.wall, rel=0.01)
    assert alone(*training.split()) == told
    assert files(tmp_path / "with") == files(tmp_path / "without")
    findings = diagnose(run).findings
    assert not findings or not findings[0].code.startswith(NOT_HERE)


def test_between_steps(fitted: Callable[..., Fitted]) -> None:
    """A checkpoint is all that a trainer does to write it, and an evaluation is not data wait."""
    run, told, _ = fitted("hf_trainer")
    saved = [number for number, step in enumerate(run.steps, 1) if step.phases.get("checkpoint", 0) > 0.001]
    evaluated = [number for number, step in enumerate(run.steps, 1) if "validation" in step.phases]
    assert saved == evaluated == [6, 12]
    assert told["steps"] == 14
