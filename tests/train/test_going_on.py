"""A training that goes on from a checkpoint as its configuration says now, or says why it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from hotlap.errors import ConfigError, RunError, TrainingFailed
from hotlap.train.config import RestorationConfig
from hotlap.train.loop import train
from hotlap.train.state import Progress

Make = Callable[..., RestorationConfig]


def logged(config: RestorationConfig, key: str) -> list[Any]:
    log = (Path(config.output_dir) / "log.jsonl").read_bytes().splitlines()
    return [line[key] for line in map(msgspec.json.decode, log) if key in line]


@pytest.fixture
def checkpoint(small: Make) -> str:
    """After two steps of eight samples, with SGD."""
    train(small(**EIGHT, steps=2))
    return os.path.join(small().output_dir, "checkpoint.pt")


EIGHT = {"batch_size": 8, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "grad_clip": 0.0, "schedule": "constant"}


def test_what_the_optimizer_is_told_now_counts(small: Make, checkpoint: str) -> None:
    """Learning rate and weight decay, which the checkpoint has, too."""
    config = small(**(EIGHT | {"lr": 0.025, "weight_decay": 0.5}), steps=4, resume=checkpoint)
    train(config)
    assert logged(config, "lr") == [0.1, 0.1, 0.025, 0.025]
    (group,) = torch.load(checkpoint, weights_only=True)["optimizer"]["param_groups"]
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.025, 0.025, 0.5)


def test_another_division_of_a_step_goes_on_at_the_same_place(small: Make, checkpoint: str, tmp_path: Path) -> None:
    whole = small(**EIGHT, steps=4, output_dir=str(tmp_path / "whole"))
    train(whole)
    parts = small(**(EIGHT | {"batch_size": 2}), accumulation_steps=4, steps=4, resume=checkpoint)
    train(parts)
    assert logged(parts, "loss") == pytest.approx(logged(whole, "loss"), rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "made with seed 0, and here it is 1"),
        ({"optimizer": "adam"}, "made with optimizer sgd, and here it is adam"),
        ({"batch_size": 4}, "had 8 samples, and here it has 4: set batch_size and accumulation_steps"),
    ],
)
def test_what_would_be_another_training_is_refused(
    small: Make, checkpoint: str, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(small(**(EIGHT | changed), resume=checkpoint))


def test_a_place_that_depends_on_the_division_stays(small: Make, tmp_path: Path) -> None:
    """What is left of an epoch makes a smaller batch, so samples cannot be counted by batches."""
    train(small(**EIGHT, steps=2, drop_last=False))
    checkpoint = os.path.join(small().output_dir, "checkpoint.pt")
    with pytest.raises(ConfigError, match="there is no end of a micro-batch of 2: set batch_size to 8, as it was"):
        train(small(**(EIGHT | {"batch_size": 2}), accumulation_steps=4, steps=4, drop_last=False, resume=checkpoint))


def test_a_metric_that_has_not_moved_stops_nothing() -> None:
    """No answer is right at the beginning; afterwards each that is no better counts."""
    progress = Progress()
    assert [progress.validated(value) for value in (0.0, 0.0, 0.0)] == [True, False, False]
    assert progress.since_best == 0
    assert progress.validated(0.2)
    assert not any(progress.validated(value) for value in (0.2, 0.1))
    assert progress.since_best == 2
    falling = Progress()
    assert [falling.validated(value) for value in (30.0, 29.0)] == [True, False]
    assert falling.since_best == 1


def test_too_little_memory_is_said_in_a_sentence(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any) -> None:
        torch.empty(2**50)

    monkeypatch.setattr("hotlap.train.loop.build", build)
    with pytest.raises(TrainingFailed, match=r"there is not enough memory .*: lower batch_size"):
        train(small())


def test_a_full_disk_is_said_in_a_sentence(small: Make) -> None:
    folder = Path(small().output_dir)
    folder.mkdir(parents=True)
    (folder / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"log\.jsonl \(No space left on device\): make room"):
        train(small())


def test_what_a_worker_says_is_said_as_if_there_were_none(small: Make, tmp_path: Path) -> None:
    class Broken:
        def __getitem__(self, _: int) -> None:
            raise ConfigError("a.png cannot be read: repair it")

        def __len__(self) -> int:
            return 4

    def build(*_: Any) -> None:
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hotlap.train.loop.build", build)
        with pytest.raises(ConfigError, match=r"^a\.png cannot be read: repair it$"):
            train(small())


def test_more_threads_than_cores_are_refused(small: Make) -> None:
    with pytest.raises(ConfigError, match="threads is 100000, and this machine has"):
        train(small(threads=100_000))


def test_a_goal_that_nothing_measures_is_refused_before_the_training(small: Make) -> None:
    with pytest.raises(ConfigError, match=r"goals: there is no 'psrn' to check; did you mean 'psnr'\?"):
        small(goals={"psrn": 30.0})
