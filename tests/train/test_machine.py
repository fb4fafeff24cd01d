"""How the process computes: told by the configuration, as it was afterwards, and the same training."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from hotlap.train.config import RestorationConfig
from hotlap.train.loop import train
from hotlap.train.machine import machine


def now() -> tuple[Any, ...]:
    backends = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), torch.get_num_threads(), backends.benchmark, gc.isenabled()


def test_settings_hold_while_it_trains(small: Callable[..., RestorationConfig]) -> None:
    before, frozen = now(), gc.get_freeze_count()
    config = small(matmul_precision="medium", threads=3, cudnn_benchmark=True, collect_every=2)
    with machine(config) as stepped:
        for step in range(1, 5):
            stepped(step)
        assert now() == ("medium", 3, True, False)
        assert gc.get_freeze_count() > frozen
    assert now() == before
    assert gc.get_freeze_count() == 0


def test_they_are_the_same_training(small: Callable[..., RestorationConfig], tmp_path: Any) -> None:
    """Collections change no bit; threads and products only round."""

    def last_loss(**keys: Any) -> float:
        loss: float = train(msgspec.structs.replace(small(steps=6), output_dir=str(tmp_path / "out"), **keys))["loss"]
        return loss

    usual = last_loss()
    assert last_loss(collect_every=2) == usual
    assert last_loss(threads=2, matmul_precision="medium") == pytest.approx(usual, rel=1e-2)
