"""`hotlap read` finds in log.jsonl what the training was, with nothing given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hotlap.diagnose import diagnose_log
from hotlap.errors import TrainingFailed
from hotlap.read import read
from hotlap.train.config import RestorationConfig
from hotlap.train.loop import train

Make = Callable[..., RestorationConfig]


def test_a_training_with_accumulation(small: Make, tmp_path: Path) -> None:
    """Batch size, accumulation and ranks are in it, and the time of a whole step; also where it went on."""
    config = small(steps=12, accumulation_steps=4, health_every=3, validate_every=4, save_every=6)
    train(config)
    path = tmp_path / "run" / "log.jsonl"
    once = path.read_bytes()
    train(msgspec.structs.replace(config, steps=15, resume=str(tmp_path / "run" / "checkpoint.pt")))
    assert path.read_bytes().startswith(once.rpartition(b'{"step":12,"finished"')[0])
    found = read([path])
    assert (found.batch_size.value, found.accumulation.value, found.world_size.value) == (2, 4, 1)
    assert (found.steps.value, found.total_steps.value, found.restarts) == (15, 15, [])
    assert found.sources[0].repeated == 0
    assert found.sources[0].formats["hotlap train"] == 15
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    looks = [line["health"] for line in lines if "health" in line]
    assert found.series["step time"].value == pytest.approx([1e-3 * look["step_ms"] for look in looks])
    rates = sorted(line["samples_per_second"] for line in lines if "lr" in line)
    assert found.step_times[1].seconds == pytest.approx(8 / rates[7])
    assert found.process_memory.value == max(look["process_memory"] for look in looks)


def test_the_same_settings_are_written_once(small: Make, tmp_path: Path) -> None:
    """Where a training goes on as it was, and not into another folder."""
    config = small(steps=4, save_every=2)
    train(config)
    again = msgspec.structs.replace(config, resume=str(tmp_path / "run" / "checkpoint.pt"))
    train(again)
    assert (tmp_path / "run" / "log.jsonl").read_bytes().count(b'"accumulation_steps"') == 1
    train(msgspec.structs.replace(again, output_dir=str(tmp_path / "other")))
    assert (tmp_path / "other" / "log.jsonl").read_bytes().count(b'"accumulation_steps"') == 1


def test_a_loss_that_is_no_number(small: Make, tmp_path: Path) -> None:
    """Before the first line with a loss."""
    with pytest.raises(TrainingFailed):
        train(small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, log_every=10))
    found = read([tmp_path / "run" / "log.jsonl"])
    assert [finding.code for finding in diagnose_log(found).findings] == ["LOG05"]
