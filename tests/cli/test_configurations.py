"""`hotlap lint` and `hotlap optimize`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotlap.cli import main
from hotlap.diagnose import Machine
from hotlap.train.config import load_config
from hotlap.tune import optimize

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WRONG = "persistent_workers: true # of none\nmomentum: 0.5\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a folder that it is run in, on a machine whose calibration is made up."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fast = Machine(bf16_matmul_speedup=2.0, bf16_conv_speedup=2.5, channels_last_conv_speedup=1.3)
    monkeypatch.setattr(optimize, "calibrated", lambda command, on_cpu: (fast, None))
    path = Path("mine.yaml")
    path.write_text(WRONG)
    Path("link.yaml").symlink_to(path)
    Path("hard.yaml").hardlink_to(path)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(list(map(str, words)))
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_lint_tells_finding_and_line_to_write(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaves with 1 only where that was asked for."""
    code, out, err = run(capsys, "lint", config, "--cores", 8, "--memory", "32GiB")
    assert (code, err) == (0, "")
    assert out.startswith("2 findings in mine.yaml.")
    assert "CONFIG08" in out
    assert "-> num_workers: auto" in out
    assert "8 cores, 32.00 GiB" in out
    assert run(capsys, "lint", config, "--fail-on", "CONFIG07")[0] == 0
    code, out, err = run(capsys, "lint", config, "--fail-on", "CONFIG07,config10")
    assert code == 1
    assert "found CONFIG10, which --fail-on asked for" in err
    code, _, err = run(capsys, "lint", config, "--fail-on", "any")
    assert (code, "CONFIG08, CONFIG10" in err) == (1, True)


def test_lint_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "lint", config, "--json", "--ranks", 2, "--gpu", "RTX 4090")[1])
    assert [each["code"] for each in found["findings"]] == ["CONFIG08", "CONFIG10"]
    assert found["findings"][1]["remedy"] == {"momentum": 0.9}
    assert (found["surroundings"]["ranks"], found["surroundings"]["device"]) == (2, "NVIDIA GeForce RTX 4090")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["lint", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["lint", "mine.yaml", "--ranks", "0"], "--ranks 0"),
        (["lint", "mine.yaml", "--memory", "much"], "--memory much"),
        (["lint", "mine.yaml", "--gpu", "RTX 4091"], "the nearest are"),
        (["lint", "mine.yaml", "--fail-on", "DATA01"], "in a configuration are CONFIG05 to CONFIG20"),
        (["lint", "mine.yaml", "--fail-on", "CONFIG77"], "did you mean"),
        (["lint", "mine.yaml", "--against", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["optimize", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["optimize", "mine.yaml", "--budget", "5m"], "--budget is for --benchmark"),
        (["optimize", "mine.yaml", "--quality", "psnr"], "--quality is for --benchmark"),
        (["optimize", "mine.yaml", "--ranks", "0"], "--ranks 0"),
        (["optimize", "mine.yaml", "-o", "mine.yaml", "--force"], "is read here"),
        (["optimize", "mine.yaml", "--benchmark", "-o", "mine_gpu_optimized.yaml"], "is read here"),
        (["optimize", "mine.yaml", "-o", "../here/mine.yaml", "--force"], "is read here"),
        (["optimize", "mine.yaml", "-o", "link.yaml", "--force"], "is read here"),
        (["optimize", "mine.yaml", "--benchmark", "-o", "hard.yaml", "--force"], "is read here"),
        (["optimize", str(CONFIGS / "apt.yaml"), "--fill", "-o", "new.yaml"], "--fill is for the restoration"),
        (["optimize", "mine.yaml", "-o", "nowhere/new.yaml"], "nowhere is not a folder"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str], part: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert part in err.splitlines()[-1]
    assert config.read_text() == WRONG


def test_optimize_writes_beside_it_and_overwrites_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "optimize", config)
    assert code == 0
    assert out.startswith("mine_gpu_optimized.yaml: ")
    assert "has not been measured" in " ".join(out.split())
    assert "train with it: hotlap train mine_gpu_optimized.yaml" in err
    written = Path("mine_gpu_optimized.yaml")
    assert "persistent_workers: true # of none" in written.read_text()
    assert load_config(written).num_workers == "auto"
    assert config.read_text() == WRONG
    before = written.read_bytes()
    code, _, err = run(capsys, "optimize", config)
    assert (code, "exists already" in err) == (2, True)
    assert written.read_bytes() == before
    found = json.loads(run(capsys, "optimize", config, "--force", "--json")[1])["optimized"]
    assert {each["key"]: each["after"] for each in found["choices"]}["num_workers"] == "auto"
    assert found["output"] == "mine_gpu_optimized.yaml"


def test_optimize_with_benchmark_refuses_before_it_writes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine_gpu_optimized_optimized.yaml").touch()
    code, _, err = run(capsys, "optimize", config, "--benchmark")
    assert (code, "mine_gpu_optimized_optimized.yaml exists already" in err) == (2, True)
    assert not Path("mine_gpu_optimized.yaml").exists()
