"""The trainer on two real ranks of gloo."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from gloo import TORCHRUN, aborted
from hotlap.train.config import AptConfig, RestorationConfig, TrainConfig
from hotlap.train.loop import train

Make = Callable[..., RestorationConfig]


def on_two_ranks(config: TrainConfig, directory: Path) -> list[dict[str, Any]]:
    """Train under torchrun; return the lines of the log."""
    path = directory / "two.yaml"
    path.write_bytes(msgspec.yaml.encode(config))
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *TORCHRUN, "-m", "hotlap", "train", str(path)],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        if not aborted(done.stderr):
            break
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 ranks") == 1, done.stdout
    log = Path(config.output_dir) / "log.jsonl"
    return [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]


def weights(config: RestorationConfig) -> dict[str, torch.Tensor]:
    content = torch.load(Path(config.output_dir) / "checkpoint.pt", weights_only=True)
    model: dict[str, torch.Tensor] = content["model"]
    return model


def test_two_ranks_are_the_batch_of_both(small: Make, tmp_path: Path) -> None:
    """The same samples, so the same training as one rank with twice the batch, but for rounding."""
    same = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "grad_clip": 0.0, "schedule": "constant", "steps": 3}
    alone = small(batch_size=4, accumulation_steps=2, output_dir=str(tmp_path / "alone"), **same)
    train(alone)
    two = small(batch_size=2, accumulation_steps=2, output_dir=str(tmp_path / "two"), **same)
    lines = on_two_ranks(two, tmp_path)
    expected = [msgspec.json.decode(line) for line in (tmp_path / "alone" / "log.jsonl").read_bytes().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == pytest.approx([line["loss"] for line in expected if "loss" in line], rel=1e-5)
    for name, value in weights(two).items():
        torch.testing.assert_close(value, weights(alone)[name], rtol=1e-4, atol=1e-7)


def test_two_ranks_go_on_where_they_stopped(small: Make, tmp_path: Path) -> None:
    """Bit by bit, in the middle of an epoch; one rank cannot go on for two."""
    how = {"batch_size": 8, "log_every": 1, "health_every": 0}
    whole = small(steps=4, output_dir=str(tmp_path / "whole"), schedule="constant", **how)
    expected = on_two_ranks(whole, tmp_path)
    first = small(steps=2, output_dir=str(tmp_path / "part"), schedule="constant", **how)
    on_two_ranks(first, tmp_path)
    checkpoint = str(tmp_path / "part" / "checkpoint.pt")
    rest = msgspec.structs.replace(first, steps=4, resume=checkpoint)
    lines = on_two_ranks(rest, tmp_path)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == [line["loss"] for line in expected if "loss" in line]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(rest).items())
    with pytest.raises(Exception, match="written by 2 ranks, and these are 1"):
        train(rest)


def test_sequences_train_on_two_ranks(tmp_path: Path) -> None:
    """Batches of several tensors, with padding of each rank's own."""
    config = AptConfig(
        output_dir=str(tmp_path / "run"),
        concepts=12,
        held_out=8,
        steps=3,
        epochs=0,
        d_model=16,
        num_layers=1,
        heads=2,
        feed_forward=32,
        pad_to_max_length=False,
        log_every=1,
        device="cpu",
    )
    losses = [line["loss"] for line in on_two_ranks(config, tmp_path) if "loss" in line]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
