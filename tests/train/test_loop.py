from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from hotlap.errors import ConfigError, RunError, TrainingFailed
from hotlap.train import main, summary
from hotlap.train.config import RestorationConfig
from hotlap.train.loop import train
from hotlap.train.optimizers import build_optimizer, build_schedule

Make = Callable[..., RestorationConfig]


def lines(config: RestorationConfig) -> list[dict[str, Any]]:
    path = Path(config.output_dir) / "log.jsonl"
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def losses(config: RestorationConfig) -> list[float]:
    train(config)
    return [line["loss"] for line in lines(config) if "loss" in line]


def weights(config: RestorationConfig) -> dict[str, torch.Tensor]:
    content = torch.load(Path(config.output_dir) / "checkpoint.pt", weights_only=True)
    model: dict[str, torch.Tensor] = content["model"]
    return model


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(small: Make) -> None:
    first = losses(small())
    assert losses(small()) == first
    assert losses(small(seed=1)) != first


def test_accumulation_is_the_big_batch(small: Make) -> None:
    """Four micro-batches of two are one batch of eight, but for rounding (SGD: the step is the gradient)."""
    same = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "grad_clip": 0.0, "schedule": "constant", "steps": 3}
    big = small(batch_size=8, **same)
    expected = losses(big)
    expected_weights = weights(big)
    parts = small(batch_size=2, accumulation_steps=4, **same)
    assert losses(parts) == pytest.approx(expected, rel=1e-5)
    for name, value in weights(parts).items():
        torch.testing.assert_close(value, expected_weights[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_is_bit_identical_to_not_stopping(small: Make, tmp_path: Path, workers: int) -> None:
    """Stopped in the middle of the third epoch, and between two lines of the log."""
    epochs = {"batch_size": 256, "accumulation_steps": 3, "patch_size": 8, "num_workers": workers, "log_every": 2}
    whole = small(steps=5, output_dir=str(tmp_path / "whole"), **epochs)
    train(whole)
    stopped = small(steps=5, output_dir=str(tmp_path / "stopped"), save_every=3, **epochs)
    checkpoint = _checkpoint_after(3, stopped)
    train(msgspec.structs.replace(stopped, resume=str(checkpoint)))

    def without_speed(config: RestorationConfig) -> list[dict[str, Any]]:
        kept = [line for line in lines(config) if "health" not in line]
        times = ("samples_per_second", "data_time_ms")
        return [{key: value for key, value in line.items() if key not in times} for line in kept]

    assert without_speed(stopped) == without_speed(whole)
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(stopped).items())


def _checkpoint_after(step: int, config: RestorationConfig) -> Path:
    """Train until the checkpoint of that step is there, as if the power had failed right after."""
    path = Path(config.output_dir) / "checkpoint.pt"
    real = torch.isfinite

    class PowerFailedError(Exception):
        pass

    calls = 0

    def isfinite(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > step:
            raise PowerFailedError
        return real(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "isfinite", isfinite)
        with pytest.raises(PowerFailedError):
            train(config)
    assert torch.load(path, weights_only=True)["progress"]["step"] == step
    return path


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_do_not_change_the_training(small: Make, persistent: bool) -> None:
    """Three epochs: persistent workers have to notice the new ones."""
    epochs = {"batch_size": 512, "patch_size": 8, "steps": 6}
    expected = losses(small(**epochs))
    assert losses(small(num_workers=2, persistent_workers=persistent, **epochs)) == expected
    assert len(set(expected)) == 6


def test_activation_checkpointing_does_not_change_the_training(small: Make) -> None:
    assert losses(small(use_checkpoint=True)) == losses(small())


@pytest.mark.parametrize(
    "changes",
    [
        {"use_mixed_precision": True},
        {"channels_last": True},
        {"use_mixed_precision": True, "channels_last": True, "use_checkpoint": True},
        {"optimizer_implementation": "for-loop"},
        {"optimizer_implementation": "foreach"},
        {"optimizer_implementation": "fused"},
    ],
    ids=str,
)
def test_a_faster_way_is_nearly_the_same_training(small: Make, changes: dict[str, Any]) -> None:
    assert losses(small(**changes)) == pytest.approx(losses(small()), rel=0.02)


def test_mixed_precision_reaches_the_network(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes = set()
    real = torch.nn.functional.relu

    def relu(x: torch.Tensor) -> torch.Tensor:
        dtypes.add(x.dtype)
        return real(x)

    monkeypatch.setattr(torch.nn.functional, "relu", relu)
    train(small(use_mixed_precision=True))
    assert dtypes == {torch.bfloat16}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer_trains(small: Make, optimizer: str) -> None:
    config = small(optimizer=optimizer, steps=30, lr=0.05 if optimizer == "sgd" else 3e-3, weight_decay=1e-4)
    curve = losses(config)
    assert sum(curve[-5:]) < sum(curve[:5])


def test_clipping_bounds_the_gradient(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    real = torch.optim.SGD.step

    def step(self: torch.optim.SGD, closure: None = None) -> None:
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    train(small(optimizer="sgd", grad_clip=1e-3))
    assert all(norm == pytest.approx(1e-3, rel=1e-3) for norm in norms)
    norms.clear()
    train(small(optimizer="sgd", grad_clip=0.0))
    assert max(norms) > 1e-2


def test_a_loss_that_is_no_number_stops_the_training(small: Make) -> None:
    """The step is the first bad one, even where the loss is read more seldom."""
    config = small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, log_every=10)
    with pytest.raises(TrainingFailed, match=r"from step \d on: lower lr \(now 1e\+12\); or set grad_clip") as caught:
        train(config)
    assert "warmup_steps" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_broken_training_is_not_saved(small: Make) -> None:
    config = small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, log_every=30, save_every=1)
    with pytest.raises(TrainingFailed):
        train(config)
    assert all(value.isfinite().all() for value in weights(config).values())


def test_the_learning_rate_warms_up_and_decays(small: Make) -> None:
    config = small(steps=10, warmup_steps=4, lr=1.0)
    optimizer = build_optimizer(torch.nn.Linear(1, 1), config)
    schedule = build_schedule(optimizer, config, config.steps)
    rates = []
    for _ in range(config.steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.1


def test_metrics_are_reported_after_each_validation(small: Make, metrics: list[tuple[str, float]]) -> None:
    config = small(validate_every=2)
    result = train(config)
    assert [name for name, _ in metrics] == ["psnr", "ssim"] * 2
    assert metrics[-2:] == [("psnr", result["psnr"]), ("ssim", result["ssim"])]
    assert [line["step"] for line in lines(config) if "val_psnr" in line] == [2, 4]
    assert all(math.isfinite(value) for _, value in metrics)


def test_freed_memory_is_kept_where_the_c_library_can(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is done; where it cannot be, the configuration is wrong here."""
    answers = iter([None, "the C library refused it"])
    monkeypatch.setattr("hotlap.train.loop.keep_freed_memory", lambda: next(answers))
    train(small())
    assert train(small(keep_freed_memory=True))["steps"] == 4
    with pytest.raises(ConfigError, match="keep_freed_memory is true, but the C library refused it: set it to false"):
        train(small(keep_freed_memory=True))


def test_fp16_on_a_cpu_is_refused(small: Make) -> None:
    with pytest.raises(ConfigError, match="50 times slower"):
        train(small(use_mixed_precision=True, mixed_precision_dtype="float16"))


def test_an_early_stopped_training_has_nothing_to_go_on_with(small: Make) -> None:
    config = small(optimizer="sgd", lr=3e-2, steps=50, validate_every=1, patience=2, schedule="constant", save_every=1)
    stopped = train(config)
    checkpoint = str(Path(config.output_dir) / "checkpoint.pt")
    again = train(msgspec.structs.replace(config, resume=checkpoint))
    assert (again["steps"], again["psnr"]) == (stopped["steps"], stopped["psnr"])


def test_a_validation_that_is_no_number_is_not_the_best(small: Make, tmp_path: Path) -> None:
    config = small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, log_every=30, validate_every=3, patience=5)
    with pytest.raises(TrainingFailed):
        train(config)
    assert not (tmp_path / "run" / "best.pt").exists()


def test_a_running_mean_is_not_dropped_without_a_word(small: Make, tmp_path: Path) -> None:
    train(small(ema_decay=0.9, steps=1))
    checkpoint = str(tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(ConfigError, match="has running mean of the weights: set ema_decay as it was"):
        train(small(resume=checkpoint))


def test_a_key_that_would_do_nothing_is_refused(small: Make) -> None:
    with pytest.raises(ConfigError, match="patience is 2, and validate_every 0"):
        small(patience=2, validate_every=0)
    with pytest.raises(ConfigError, match="warmup_steps is 50, and the training has 4 steps"):
        train(small(steps=0, epochs=1, batch_size=256, patch_size=8, warmup_steps=50))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(small: Make) -> None:
    with pytest.raises(ConfigError, match="sees no GPU"):
        train(small(device="cuda"))


def test_an_output_folder_that_cannot_be_is_refused(small: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="output_dir"):
        train(small(output_dir=str(tmp_path / "file" / "run")))


def test_a_checkpoint_that_does_not_fit_is_refused(small: Make, tmp_path: Path) -> None:
    config = small(steps=1)
    train(config)
    checkpoint = str(Path(config.output_dir) / "checkpoint.pt")
    with pytest.raises(ConfigError, match="another network"):
        train(small(base_channels=4, resume=checkpoint))
    with pytest.raises(ConfigError, match="cannot be read"):
        train(small(resume=str(tmp_path / "nowhere.pt")))
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        train(small(resume=str(tmp_path / "junk.pt")))


def test_no_file_but_the_log_the_configuration_and_the_checkpoint_remains(small: Make) -> None:
    config = small(save_every=1)
    train(config)
    assert sorted(path.name for path in Path(config.output_dir).iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "log.jsonl",
    ]


def test_main_returns_what_one_line_for_people_says(
    small: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary is not printed by the trainer: the command line decides what goes to stdout."""
    path = tmp_path / "my.yaml"
    path.write_bytes(msgspec.yaml.encode(small()))
    result = main(path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dB against the noisy input" in summary(result)
    assert "step 4/4" in captured.err


def test_epochs_say_how_long(small: Make) -> None:
    """1024 patches in batches of 256 are four micro-batches; what fills no step is left."""
    config = small(steps=0, epochs=2, batch_size=256, accumulation_steps=3, patch_size=8)
    assert train(config)["steps"] == 2
    assert train(msgspec.structs.replace(config, steps=1))["steps"] == 1
    with pytest.raises(ConfigError, match="less than one step"):
        train(small(steps=0, epochs=1, batch_size=512, accumulation_steps=3))


def test_the_last_batch_is_what_is_left(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = torch.nn.functional.l1_loss

    def l1_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return real(x, y)

    monkeypatch.setattr(torch.nn.functional, "l1_loss", l1_loss)
    train(small(steps=3, batch_size=600, patch_size=8, drop_last=False))
    assert sizes == [600, 424, 600]


def test_patches_grow_with_the_epochs(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = torch.nn.functional.l1_loss

    def l1_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[-1])
        return real(x, y)

    monkeypatch.setattr(torch.nn.functional, "l1_loss", l1_loss)
    train(small(steps=6, batch_size=512, patch_size={0: 8, 1: 12, 2: 16}, num_workers=1, persistent_workers=True))
    assert sizes == [8, 8, 12, 12, 16, 16]


def test_the_running_mean_of_the_weights_is_validated(small: Make, tmp_path: Path) -> None:
    """It lags behind, is in the checkpoint, and goes on bit by bit."""
    plain = train(small())
    config = small(ema_decay=0.9)
    averaged = train(config)
    assert averaged["loss"] == plain["loss"]
    assert averaged["psnr"] != plain["psnr"]
    train(small(ema_decay=0.9, steps=2, schedule="constant", output_dir=str(tmp_path / "part")))
    checkpoint = str(tmp_path / "part" / "checkpoint.pt")
    rest = train(small(ema_decay=0.9, schedule="constant", resume=checkpoint))
    assert rest["psnr"] == train(small(ema_decay=0.9, schedule="constant"))["psnr"]


def test_a_training_that_gets_no_better_ends(small: Make, tmp_path: Path) -> None:
    """After two validations without a better one; the best is kept, and the checkpoint is the last."""
    config = small(optimizer="sgd", lr=3e-2, steps=50, validate_every=1, patience=2, schedule="constant")
    result = train(config)
    assert result["stopped_early"]
    assert result["steps"] < 50
    values = [line["val_psnr"] for line in lines(config) if "val_psnr" in line]
    assert result["best"] == max(values)
    assert values.index(max(values)) == len(values) - 3
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert best["progress"]["step"] == result["steps"] - 2
    assert "stopped early" in summary(result)


def test_patch_sizes_that_never_come(small: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Four micro-batches of 256 an epoch: six steps end in the second."""
    epochs = {"steps": 6, "batch_size": 256}
    train(small(patch_size={0: 8, 1: 16, 2: 24}, **epochs))
    said = capsys.readouterr().err
    assert "patch_size: the training ends in its epoch 1 (of 4 micro-batches, the first is 0)" in said
    assert "from epoch 2 on never comes" in said
    train(small(patch_size={0: 8, 1: 16}, **epochs))
    assert "never comes" not in capsys.readouterr().err


def test_a_training_that_is_at_its_end_is_resumed(
    small: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small())
    again = train(small(resume=str(tmp_path / "run" / "checkpoint.pt")))
    assert again["steps"] == 4
    assert "the checkpoint is of step 4 of 4: nothing is left to train" in capsys.readouterr().err
