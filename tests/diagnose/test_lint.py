"""Rules about configurations: each speaks up on a planted one, and is silent on the nearest that is well."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hotlap.diagnose import explain, rule
from hotlap.diagnose.lint import rules_of_configurations
from hotlap.errors import ConfigError, UsageError
from hotlap.records import ConfigFinding, Environment, Lint
from hotlap.report.blocks import Report
from hotlap.report.lint import linted as view
from hotlap.report.lint import value_in_yaml
from hotlap.tune import linted as module
from hotlap.tune.linted import lint_config
from hotlap.workloads.vrt_spike.chunks import Chunking
from hotlap.workloads.vrt_spike.windows import Partition

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GIB = 2**30
NODE: dict[str, Any] = {"cores": 16, "memory": 64 * GIB}

VRT = "WORKLOAD: vrt_spike\n"
#: Code -> a configuration with the finding, what describes the machine, the remedy; and configurations that are well.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "CONFIG05": (
        VRT + "DATA.USE_RAM_CACHE: true\nDATA.CACHE_SIZE_GB: 40",
        {},
        {"DATA.CACHE_SIZE_GB": 32.0},
        [VRT + "DATA.USE_RAM_CACHE: true\nDATA.CACHE_SIZE_GB: 32", VRT],
    ),
    "CONFIG06": (
        "batch_size: 256\npatch_size: 512\nnum_workers: 8\nprefetch_factor: 16",
        {},
        {"prefetch_factor": 3},
        ["batch_size: 256\npatch_size: 512\nnum_workers: 8\nprefetch_factor: 2"],
    ),
    "CONFIG07": (
        VRT + "DATA.TOTAL_WORKERS: 36",
        {"ranks": 3},
        {"DATA.TOTAL_WORKERS": 15},
        [VRT + "DATA.TOTAL_WORKERS: 15", VRT + "DATA.TOTAL_WORKERS: auto", "num_workers: 5"],
    ),
    "CONFIG08": (
        "persistent_workers: true",
        {},
        {"num_workers": "auto"},
        ["persistent_workers: true\nnum_workers: 2", "persistent_workers: true\nnum_workers: auto"],
    ),
    "CONFIG09": ("pin_memory: true", {"gpu": "none"}, {"pin_memory": False}, ["pin_memory: false"]),
    "CONFIG10": (
        "momentum: 0.95",
        {},
        {"momentum": 0.9},
        ["momentum: 0.95\noptimizer: sgd", "momentum: 0.9", VRT + "DATA.CACHE_SIZE_GB: 2\nDATA.USE_RAM_CACHE: true"],
    ),
    "CONFIG11": (
        "use_mixed_precision: true\nmixed_precision_dtype: float16\ndevice: cpu",
        {},
        {"mixed_precision_dtype": "bfloat16"},
        ["use_mixed_precision: true\ndevice: cpu"],
    ),
    "CONFIG12": (
        "use_mixed_precision: true\nmixed_precision_dtype: float16\ngrad_scale: 1",
        {"gpu": "V100-SXM2-16GB"},
        {"grad_scale": 1024.0},
        ["use_mixed_precision: true\nmixed_precision_dtype: float16\ngrad_scale: 1024"],
    ),
    "CONFIG13": (
        "compile_model: true",
        {"gpu": "GTX 1080"},
        {"compile_model": False},
        ["compile_model: false"],
    ),
    "CONFIG14": (
        "batch_size: 300",
        {},
        {"drop_last": False},
        ["batch_size: 256", "batch_size: 300\ndrop_last: false"],
    ),
    "CONFIG15": (
        "workload: apt\nepochs: 5\nwarmup_steps: 50",  # 600 pairs, 32 in a step: 93 steps
        {},
        {"warmup_steps": 4},
        ["workload: apt\nepochs: 5\nwarmup_steps: 40"],
    ),
    "CONFIG16": (
        VRT + "VAL.EVERY: 20",
        {},
        {"VAL.EVERY": 384},
        [VRT + "VAL.EVERY: 0", VRT],
    ),
    "CONFIG17": (
        "batch_size: 32\naccumulation_steps: 2",
        {},
        {"lr": 0.00282843},  # Adam, 8 times as large: sqrt(8)
        ["batch_size: 4\naccumulation_steps: 2", "batch_size: 32\nlr: 0.002"],
    ),
    "CONFIG18": ("log_every: 1", {"gpu": "RTX 4090"}, {"log_every": 20}, ["log_every: 1\ndevice: cpu", "log_every: 5"]),
    "CONFIG19": (
        VRT + "MODEL.VRT.WINDOW_SIZE: 6",
        {},
        {"MODEL.VRT.WINDOW_SIZE": 8},
        [VRT, VRT + "MODEL.VRT.WINDOW_SIZE: 6\nDATA.TRAIN_CROP_SIZE: 96"],
    ),
    "CONFIG20": (
        VRT + "DATA.TRAIN_CROP_SIZE: 256\nMODEL.FUSE.MAX_BATCH_TOKENS: 98304",
        {},
        {"MODEL.FUSE.CHUNK_SIZE": 140},
        [
            VRT + "DATA.TRAIN_CROP_SIZE: 256",
            VRT + "DATA.TRAIN_CROP_SIZE: 256\nTRAIN.BATCH_SIZE: 8\nMODEL.FUSE.MAX_BATCH_TOKENS: 98304",
        ],
    ),
}


def linted(text: str, folder: Path, **described: Any) -> Lint:
    path, base = folder / "mine.yaml", folder / "base.yaml"
    path.write_text(text + "\n")
    base.write_text("batch_size: 8\n")
    against = base if "batch_size" in text and "num_workers" not in text else None
    return lint_config(path, **{**NODE, **described}, against=against)


def found(lint: Lint, code: str) -> list[ConfigFinding]:
    return [each for each in lint.findings if each.code == code]


def test_every_rule_has_its_case() -> None:
    assert list(CASES) == [each.code for each in rules_of_configurations()]


@pytest.mark.parametrize("code", CASES)
def test_a_rule_speaks_up_with_what_to_write(code: str, tmp_path: Path) -> None:
    text, described, remedy, _ = CASES[code]
    findings = found(linted(text, tmp_path, **described), code)
    assert [each.remedy for each in findings] == [remedy]
    assert all(each.evidence and each.consequence for each in findings)


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, case in CASES.items() for text in case[-1]])
def test_a_rule_is_silent_on_what_is_well(code: str, text: str, tmp_path: Path) -> None:
    assert not found(linted(text, tmp_path, **CASES[code][1]), code)


@pytest.mark.parametrize("code", CASES)
def test_the_remedy_mends_it(code: str, tmp_path: Path) -> None:
    """The file with the values that are proposed has the finding no more."""
    text, described, remedy, _ = CASES[code]
    kept = [line for line in text.splitlines() if line.partition(":")[0] not in remedy]
    mended = "\n".join([*kept, *(f"{key}: {value_in_yaml(value)}" for key, value in remedy.items())])
    assert not found(linted(mended, tmp_path, **described), code)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_well(path: Path) -> None:
    """On the card that it is for, where its name says one. That windows of 6 waste some is said where they are set."""
    card = {"gtx1080": "GTX 1080", "rtx4070": "RTX 4070", "rtx4080": "RTX 4080"}.get(path.stem.rpartition("_")[2])
    lint = lint_config(path, cores=8, memory=32 * GIB, gpu=card or "RTX 4090")
    assert [each.code for each in lint.findings] == (["CONFIG19"] if path.stem == "vrt_spike_aggressive" else [])


def test_windows_are_counted_as_the_network_cuts_them() -> None:
    """Positions of all windows over those of the picture, at each scale."""
    from hotlap.diagnose.lint.vrt_spike import _added

    def held(side: int, window: int) -> int:
        cut = Partition((1, side, side), (1, window, window), shifted=False, device=torch.device("cpu"))
        return cut.windows * cut.window[1] * cut.window[2]

    for crop, window in ((64, 6), (48, 8), (40, 7)):
        by_network = [held(crop >> halved, window) for halved in (0, 1, 2, 3, 2, 1, 0, 0)]
        there = [(crop >> halved) ** 2 for halved in (0, 1, 2, 3, 2, 1, 0, 0)]
        assert _added(crop, window, [1] * 8) == pytest.approx(sum(by_network) / sum(there) - 1)


def test_chunks_are_counted_as_the_network_cuts_them(tmp_path: Path) -> None:
    """More tokens than the finding says change no chunk; the size that it proposes does."""
    text = VRT + "DATA.TRAIN_CROP_SIZE: 256\nMODEL.FUSE.MAX_BATCH_TOKENS: 98304"
    size = found(linted(text, tmp_path), "CONFIG20")[0].remedy["MODEL.FUSE.CHUNK_SIZE"]
    assert Chunking(64, max_batch_tokens=98304).chunk(1, 5, 256, 256) == (64, 64)
    assert Chunking(64, max_batch_tokens=5 * 64 * 64).chunk(1, 5, 256, 256) == (64, 64)
    assert Chunking(size, max_batch_tokens=98304).chunk(1, 5, 256, 256) == (size, size)


def test_another_projects_keys_are_recognised(tmp_path: Path) -> None:
    """As in the guide: 36 workers on each of 3 GPUs, each with a cache of its own."""
    path = tmp_path / "theirs.yaml"
    path.write_text(
        "data:\n  num_workers: 36\n  use_ram_cache: true\n  cache_size_gb: 50\n  pin_memory: true\n"
        "train:\n  batch_size: 1\nnetwork:\n  type: VRT\n  depth: 8\n"
    )
    lint = lint_config(path, ranks=3, cores=64, memory=512 * GIB, gpu="none")
    assert lint.workload is None
    assert [each.code for each in lint.findings] == ["CONFIG05", "CONFIG07", "CONFIG09"]
    assert "108 processes" in lint.findings[0].evidence[0]
    assert "data.num_workers" in lint.recognised


def test_what_is_meant_for_us_and_wrong_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("batch_size: 8\nnum_wrokers: 2\nlr: 0.1\n")
    with pytest.raises(ConfigError, match="did you mean 'num_workers'"):
        lint_config(path)
    path.write_text("colour: blue\n")
    with pytest.raises(ConfigError, match="no key in it is recognised"):
        lint_config(path)


def test_codes_of_configurations_are_explained_and_are_none_of_a_run() -> None:
    assert "`hotlap lint` finds it" in explain("config19")
    with pytest.raises(UsageError, match="is found in a configuration"):
        rule("CONFIG19")


def test_cards_are_asked_for_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("use_mixed_precision: true\nmatmul_precision: high\n")
    codes = {
        card: [each.remedy for each in lint_config(path, gpu=card).findings]
        for card in ("RTX 4090", "Tesla V100-SXM2-16GB", "GTX 1080")
    }
    assert codes["RTX 4090"] == []
    assert codes["Tesla V100-SXM2-16GB"] == [{"mixed_precision_dtype": "float16"}, {"matmul_precision": "highest"}]
    assert codes["GTX 1080"] == [{"use_mixed_precision": False}, {"matmul_precision": "highest"}]
    with pytest.raises(UsageError, match="not in the catalogue"):
        lint_config(path, gpu="RTX 9999")


def test_workers_that_are_measured_are_counted_on_the_cores_of_the_node(tmp_path: Path) -> None:
    """64 cores have 51 workers, and too many batches for the memory, whatever this machine has."""
    path = tmp_path / "mine.yaml"
    path.write_text("batch_size: 256\npatch_size: 512\nnum_workers: auto\n")
    large, small = (lint_config(path, cores=cores, memory=256 * GIB, gpu="RTX 4090") for cores in (64, 4))
    assert "51 workers" in found(large, "CONFIG06")[0].evidence[0]
    assert not found(small, "CONFIG06")


def test_no_workers_at_all_is_said(tmp_path: Path) -> None:
    """More ranks than cores leave none for workers, and then the training makes its batches itself."""
    findings = found(linted("num_workers: 2", tmp_path, ranks=32), "CONFIG07")
    assert findings[0].remedy == {"num_workers": 0}
    assert "Without workers nothing is loaded ahead" in findings[0].advice
    assert "ahead" not in found(linted("num_workers: 20", tmp_path), "CONFIG07")[0].advice


def test_a_card_whose_name_is_that_of_several_is_told_by_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The driver calls both of them so."""
    monkeypatch.setattr(module, "environment", lambda: Environment(hotlap="0", python="3", gpus=["RTX 3080"]))
    monkeypatch.setattr(module, "gpu_memory", lambda: 10 * GIB)
    path = tmp_path / "mine.yaml"
    path.write_text("num_workers: 0\n")
    assert lint_config(path, **NODE).surroundings.device == "NVIDIA GeForce RTX 3080 10GB"
    monkeypatch.setattr(module, "gpu_memory", lambda: None)
    assert lint_config(path, **NODE).surroundings.device == "RTX 3080"


def test_it_is_told_in_words(tmp_path: Path) -> None:
    """With the evidence, what comes of it, and the line to write; or with what was looked at in vain."""
    text, described, _, well = CASES["CONFIG07"]
    shown = rendered(view(linted(text, tmp_path, **described)))
    assert shown.startswith(f"1 finding in {tmp_path / 'mine.yaml'}.")
    assert "36 processes on 3 ranks, and there are 16 cores" in shown
    assert "-> DATA.TOTAL_WORKERS: 15" in shown
    shown = rendered(view(linted(well[0], tmp_path, **described)))
    assert shown.startswith("Nothing found in ")
    assert "CONFIG05 to CONFIG20" in shown


def rendered(report: Report) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(report)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
