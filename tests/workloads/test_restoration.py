from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import hotlap
from hotlap.errors import ConfigError
from hotlap.train.config import RestorationConfig
from hotlap.train.config.restoration import EPOCH_SAMPLES
from hotlap.train.loop import train
from hotlap.workloads.restoration import Restoration
from hotlap.workloads.restoration.network import RestorationNet
from hotlap.workloads.restoration.pictures import (
    HELD_OUT,
    TRAINING,
    Degradation,
    Patches,
    load_pictures,
    split,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(hotlap), "metric", lambda name, value: None)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of pictures with colour gradients."""

    def make(count: int, size: int = 40, mode: str = "RGB") -> Path:
        directory = tmp_path / "pictures"
        directory.mkdir()
        generator = random.Random(0)
        for index in range(count):
            corners = [generator.randrange(256) for _ in range(12)]
            picture = Image.frombytes("RGB", (2, 2), bytes(corners)).resize((size, size), Image.Resampling.BICUBIC)
            picture.convert(mode).save(directory / f"{index}.png")
        return directory

    return make


def test_no_picture_is_on_both_sides() -> None:
    training = {name for _, _, names in TRAINING for name in names}
    held_out = {name for _, _, names in HELD_OUT for name in names}
    assert not training & held_out
    pictures, others = load_pictures(None, 48)
    digests = [hashlib.sha256(p.numpy().tobytes()).hexdigest() for p in pictures + others]
    assert len(set(digests)) == len(digests) == 11


def test_both_sides_of_the_motorcycle_are_for_training() -> None:
    """They show one scene: one of them held out would have been seen."""
    training = {name for _, _, names in TRAINING for name in names}
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= training


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    pictures, _ = load_pictures(None, 48)
    patches = Patches(pictures, Degradation(1, 25.0), 48, seed=3)
    state = torch.get_rng_state()
    first = patches[5]
    patches[6]
    assert all(torch.equal(a, b) for a, b in zip(first, patches[5], strict=True))
    assert not torch.equal(first[1], patches[5 + EPOCH_SAMPLES][1])
    assert not torch.equal(first[1], Patches(pictures, Degradation(1, 25.0), 48, seed=4)[5][1])
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


def test_the_noise_has_the_strength_that_was_asked_for() -> None:
    pictures, _ = load_pictures(None, 48)
    patches = Patches(pictures, Degradation(1, 25.0), 48, seed=0)
    noise = torch.stack([noisy - clean for noisy, clean in (patches[i] for i in range(50))])
    assert float(noise.std()) * 255 == pytest.approx(25, rel=0.01)


def test_the_untrained_network_is_the_simple_method() -> None:
    """So what training adds is what the report says."""
    for task in ("denoise", "super_resolution"):
        workload = Restoration(RestorationConfig(task=task), CPU)
        with torch.no_grad():
            assert workload.validate(workload.model) == pytest.approx(workload.simple_quality, abs=1e-6)


def test_quality_is_measured_in_float32_whatever_the_training_runs_in() -> None:
    workload = Restoration(RestorationConfig(), CPU)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert workload.validate(workload.model) == pytest.approx(workload.simple_quality, abs=1e-6)


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = RestorationNet(8, 2)
    torch.nn.init.normal_(plain.tail.weight)
    checkpointed = RestorationNet(8, 2, use_checkpoint=True)
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 16, 16)
    for model in (plain, checkpointed):
        model(x).square().mean().backward()
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_the_perceptual_loss_is_used_in_one_step_of_so_many() -> None:
    workload = Restoration(RestorationConfig(use_perceptual=True, perceptual_weight=1.0, perceptual_every=3), CPU)
    x, y = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    values = [float(workload.loss(x, (x, y), step)["loss"]) for step in range(1, 7)]
    assert values[0] == values[1] == values[3] == values[4]
    assert values[2] == values[5] > values[0]


def short(tmp_path: Path, **changes: Any) -> RestorationConfig:
    values: dict[str, Any] = {
        "output_dir": str(tmp_path / "run"),
        "steps": 120,
        "batch_size": 8,
        "patch_size": 32,
        "base_channels": 16,
        "num_blocks": 2,
        "lr": 3e-3,
        "log_every": 60,
        "validate_every": 0,
        "save_every": 0,
        "device": "cpu",
    }
    return RestorationConfig(**(values | changes))


def test_a_short_training_beats_the_noisy_input(tmp_path: Path) -> None:
    result = train(short(tmp_path))
    assert result["psnr_gain"] > 4
    assert result["ssim"] > result["simple_ssim"] + 0.15


def test_super_resolution_trains(tmp_path: Path) -> None:
    result = train(short(tmp_path, task="super_resolution"))
    assert result["simple_method"] == "bicubic upscaling"
    assert result["psnr_gain"] > 0.1


def test_a_folder_of_the_users_own_trains(tmp_path: Path, folder: Callable[..., Path]) -> None:
    """Grey pictures, pictures with transparency and odd sizes included."""
    directory = folder(5, size=41)
    Image.new("RGBA", (50, 45), (200, 10, 10, 100)).save(directory / "x.png")
    Image.new("L", (50, 45), 100).save(directory / "y.png")
    (directory / "notes.txt").write_text("not a picture")
    for task in ("denoise", "super_resolution"):
        result = train(short(tmp_path, data_dir=str(directory), steps=2, task=task))
        assert result["steps"] == 2


def test_the_users_pictures_are_split_by_picture(folder: Callable[..., Path]) -> None:
    training, held_out = split(folder(12))
    assert len(training) == 10
    assert len(held_out) == 2
    assert not set(training) & set(held_out)


@pytest.mark.parametrize(("count", "said"), [(0, "has no picture"), (1, "has only one picture")])
def test_a_folder_with_too_few_pictures_is_refused(folder: Callable[..., Path], count: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_pictures(str(folder(count)), 16)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pictures(str(tmp_path / "nowhere"), 16)


def test_a_damaged_picture_is_named(folder: Callable[..., Path]) -> None:
    directory = folder(3)
    (directory / "1.png").write_bytes((directory / "1.png").read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"1\.png cannot be read as a picture"):
        load_pictures(str(directory), 16)


def test_a_picture_smaller_than_a_patch_is_named(folder: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"0\.png is 40 x 40 pixels, smaller than patch_size 48"):
        load_pictures(str(folder(3)), 48)
