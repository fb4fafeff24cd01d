"""The whole training of APT at a tiny size, on real pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import hotlap
from hotlap.errors import ConfigError
from hotlap.train.config import AptConfig
from hotlap.train.loop import train
from hotlap.workloads.apt import Apt
from hotlap.workloads.apt.model import DOCUMENTED_VOCABULARY

Make = Callable[..., AptConfig]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(hotlap), "metric", lambda name, value: None)


@pytest.fixture
def tiny(tmp_path: Path) -> Make:
    def make(**changes: Any) -> AptConfig:
        values: dict[str, Any] = {
            "output_dir": str(tmp_path / "run"),
            "concepts": 12,
            "held_out": 8,
            "steps": 3,
            "epochs": 0,
            "d_model": 16,
            "num_layers": 1,
            "heads": 2,
            "feed_forward": 32,
            "dropout": 0.0,
            "lr": 1e-3,
            "log_every": 1,
            "device": "cpu",
        }
        return AptConfig(**(values | changes))

    return make


def losses(config: AptConfig) -> list[float]:
    train(config)
    lines = [msgspec.json.decode(line) for line in (Path(config.output_dir) / "log.jsonl").read_bytes().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_the_baseline_is_the_documents(tmp_path: Path) -> None:
    """600 pairs in training, 937 steps of 32 in 50 epochs but for what fills no step, 6.8 M parameters at 5000 rows."""
    config = AptConfig(vocabulary_size=DOCUMENTED_VOCABULARY)
    workload = Apt(config, CPU)
    assert workload.dataset.epoch_samples == 600
    assert sum(parameter.numel() for parameter in workload.model.parameters()) == 6_810_624
    assert (config.batch_size, config.accumulation_steps, config.lr, config.optimizer) == (4, 8, 5e-5, "adam")


def test_it_reports_how_well_it_writes(tiny: Make) -> None:
    result = train(tiny())
    assert result["simple_method"] == "copying the source"
    assert 0 <= result["exact_match"] <= 1
    assert 0 <= result["training_exact_match"] <= 1
    assert result["character_error_rate"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_to_max_length": False},
        {"whole_set": True},
        {"whole_set": True, "pad_to_max_length": False},
        {"num_workers": 2},
        {"use_checkpoint": True},
        # Each token of a step weighs the same, however they are divided.
        {"batch_size": 32, "accumulation_steps": 1},
    ],
    ids=str,
)
def test_a_faster_way_is_the_same_training(tiny: Make, changes: dict[str, Any]) -> None:
    """Over the border of an epoch (two steps), but for rounding."""
    expected = losses(tiny())
    assert losses(tiny(**changes)) == pytest.approx(expected, rel=1e-5)
    assert losses(tiny(lr=2e-3)) != pytest.approx(expected, rel=1e-4)


def test_batches_of_likes_are_another_training(tiny: Make) -> None:
    assert losses(tiny(group_by_length=True)) != pytest.approx(losses(tiny()), rel=1e-4)


def test_dbc_dac_changes_the_gradients(tiny: Make) -> None:
    assert losses(tiny(dac_rank=2))[1:] != losses(tiny())[1:]


def test_a_beam_decodes(tiny: Make) -> None:
    assert train(tiny(beams=3))["steps"] == 3


def test_a_set_on_the_device_wants_no_workers(tiny: Make) -> None:
    with pytest.raises(ConfigError, match="num_workers is 2: nothing is left"):
        tiny(whole_set=True, num_workers=2)
