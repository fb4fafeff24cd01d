"""A small training, and a place for the metrics that it reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hotlap
from hotlap.train.config import RestorationConfig

Metrics = list[tuple[str, float]]


@pytest.fixture(autouse=True)
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    """What the training reported with ``hotlap.metric``, in order."""
    reported: Metrics = []
    monkeypatch.setitem(vars(hotlap), "metric", lambda name, value: reported.append((name, value)))
    return reported


@pytest.fixture(autouse=True)
def _same_generators_after() -> Any:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., RestorationConfig]:
    """Make a configuration whose training takes a fraction of a second."""

    def make(**changes: Any) -> RestorationConfig:
        values: dict[str, Any] = {
            "output_dir": str(tmp_path / "run"),
            "steps": 4,
            "batch_size": 2,
            "patch_size": 16,
            "base_channels": 8,
            "num_blocks": 2,
            "log_every": 1,
            "validate_every": 0,
            "save_every": 0,
            "device": "cpu",
        }
        return RestorationConfig(**(values | changes))

    return make
