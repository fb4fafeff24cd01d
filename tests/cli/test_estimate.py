"""`hotlap estimate`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotlap.cli import main

GUIDE = [
    *("estimate", "--data", "--samples", "2222", "--sample", "720x1280x3,720x1280x3,32x720x1280"),
    *("--workers", "36", "--ranks", "3", "--cache", "50GiB", "--cache-each", "--memory", "512GiB"),
]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_the_example_of_the_guide_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """In words, and as JSON with every figure."""
    code, out, _ = run(GUIDE, capsys)
    assert code == 0
    assert out.startswith("The data side does not fit: 5.")
    assert "133.59 MiB" in out
    found = json.loads(run([*GUIDE, "--json"], capsys)[1])
    assert (found["sample_bytes"], found["processes"], found["verdict"]) == (140083200, 108, "does not fit")
    assert [remedy["kind"] for remedy in found["remedies"]] == ["one cache", "compact"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "add --data"),
        (["--gpu", "RTX 4090"], "give a configuration"),
        (["nowhere.yaml", "--gpu", "RTX 4090"], "nowhere.yaml"),
        (["nowhere.yaml", "--workers", "3"], "--workers is of the data side: add --data"),
        (["--data", "nowhere.yaml", "--gpu", "RTX 4090"], "--gpu is of the training on a GPU"),
        (["nowhere.yaml", "--all", "--gpu", "RTX 4090"], "--all asks about every card"),
        (["nowhere.yaml", "--all", "--variants"], "--variants is about one card"),
        (["nowhere.yaml", "--batch-size", "0"], "--batch-size 0"),
        (["nowhere.yaml", "--all", "--price", "2"], "--price is of one card"),
        (["nowhere.yaml", "--price", "0"], "--price 0"),
        (["nowhere.yaml", "--calibrate"], "takes no configuration"),
        (["nowhere.yaml", "--threads", "2"], "add --calibrate"),
        (["nowhere.yaml", "--gap"], "--from-run"),
        (["--from-run", "nowhere"], "name it with --gpu"),
        (["--from-run", "nowhere", "--gpu", "RTX 4090", "--variants"], "leave out --variants"),
        (["--calibrate", "--ranks", "2"], "leave out --ranks"),
        (["--from-run", "nowhere", "--gap"], "nowhere"),
        (["--from-run", "train.py", "--gap"], "train.py"),
        (["--from-run", "nowhere", "--gap", "--gpu", "RTX 4090"], "leave out --gpu"),
        (["--from-run", "nowhere", "--gap", "--price", "2"], "--price is of a whole training"),
        (["--data", "nowhere.yaml", "--price", "2"], "--price is of the training on a GPU"),
        (["--data"], "--samples and --sample"),
        (["--data", "--samples", "0", "--sample", "3"], "--samples 0"),
        (["--data", "--samples", "9", "--sample", "3;4"], "is no shape"),
        (["--data", "--samples", "9", "--sample", "3", "--cache-each"], "--cache"),
        (["--data", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_missing_is_named(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["estimate", *words], capsys)
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1


SMALL = """
workload: restoration
patch_size: 16
base_channels: 8
num_blocks: 1
batch_size: 2
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def test_whether_a_configuration_fits(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is gone through on no card at all; the largest micro-batch is that of an epoch."""
    words = ["estimate", config, "--gpu", "rtx 4090", "--variants", "--price", "2.5", "--json"]
    code, out, err = run(words, capsys)
    assert code == 0
    found = json.loads(out)
    assert (found["verdict"], found["card"]) == ("fits", "NVIDIA GeForce RTX 4090")
    assert found["largest"]["batch_size"] == 1024
    settings = [list(variant["setting"].values()) for variant in found["variants"]]
    assert len(settings) == 2 * 2 * 2
    assert ["on", "bfloat16", "adam8bit"] in settings
    assert "micro-batch of 2" in err
    assert found["horizon"]["epoch_samples"] == 1024
    steps = [variant["time"]["step"] for variant in [found, *found["variants"]]]
    assert all(step["least"] < step["likely"] < step["most"] for step in steps)


def test_this_machine_has_to_be_measured(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a calibration it says how to make one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, err = run(["estimate", config, "--gpu", "cpu"], capsys)
    assert (code, out) == (2, "")
    assert "measure it with `hotlap estimate --calibrate" in err


def test_ranks_share_an_epoch(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The largest micro-batch is one that the training takes on so many ranks; a step in three is less work."""
    with open(config, "a") as file:
        file.write("use_perceptual: true\nperceptual_every: 3\nuse_mixed_precision: true\n")
    found = json.loads(run(["estimate", config, "--gpu", "rtx 4090", "--ranks", "3", "--json"], capsys)[1])
    assert (found["largest"]["batch_size"], found["largest"]["is_limit"]) == (341, True)
    assert found["perceptual_every"] == 3


def test_which_cards_fit(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each card of the catalogue that has memory of its own."""
    code, out, _ = run(["estimate", config, "--all"], capsys)
    assert code == 0
    assert out.startswith("It fits on ")
    assert "NVIDIA H200" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--gpu", "RTX 4909"], "'NVIDIA GeForce RTX 4090'"),
        (["--gpu-memory", "much"], "--gpu-memory much"),
        (["--gpu", "Apple M3 Max"], "--gpu-memory"),
        (["--gpu", "RTX 4090", "--batch-size", "2000"], "an epoch of restoration has 1024 samples"),
        (["--gpu", "RTX 4090", "--batch-size", "400", "--ranks", "3"], "on 3 ranks, which leaves 341 for each"),
    ],
)
def test_a_card_that_is_none(config: str, words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest names are offered, or what is missing."""
    code, out, err = run(["estimate", config, *words], capsys)
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1
