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


def test_the_lines_for_people(small: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They say as much as log.jsonl of steps, and of how one is divided."""
    train(small(steps=6, accumulation_steps=2, validate_every=3))
    (tmp_path / "train.log").write_text(capsys.readouterr().err)
    lines = [msgspec.json.decode(line) for line in (tmp_path / "run" / "log.jsonl").read_bytes().splitlines()]
    steps = [line for line in lines if "lr" in line]
    found = read([tmp_path / "train.log"])
    assert (found.batch_size.value, found.accumulation.value, found.world_size.value) == (2, 2, 1)
    assert (found.steps.value, found.total_steps.value, found.evaluations) == (6, 6, 2)
    assert found.series["loss"].value == pytest.approx([line["loss"] for line in steps], rel=1e-3)
    rates = [line["samples_per_second"] for line in steps]
    assert found.series["throughput"].value == pytest.approx(rates, rel=1e-3)
    assert found.data_time == "wait"
    assert found.series["evaluation: psnr"].value == pytest.approx(
        [line["val_psnr"] for line in lines if "val_psnr" in line], rel=1e-3
    )


def test_lines_for_people_whose_loss_is_no_number(small: Make, tmp_path: Path) -> None:
    """The error of the command line is the last of them."""
    with pytest.raises(TrainingFailed) as failed:
        train(small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, log_every=10))
    (tmp_path / "train.log").write_text(
        f"a step: batch_size 2, accumulation_steps 1, ranks 1; total_steps 30\nhotlap: {failed.value}\n"
    )
    assert [finding.code for finding in diagnose_log(read([tmp_path / "train.log"])).findings] == ["LOG05"]
