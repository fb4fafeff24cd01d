"""What is chosen for a machine, on made-up machines; and the file that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hotlap
from hotlap.diagnose import Machine
from hotlap.diagnose.lint import Device
from hotlap.errors import UsageError
from hotlap.estimate.cards import find
from hotlap.records import Optimized
from hotlap.train.config import load_config
from hotlap.tune import optimize as module
from hotlap.tune.hardware import choices
from hotlap.tune.linted import device_of_card
from hotlap.tune.optimize import optimize, output_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CPU = Device(kind="cpu", name="cpu")
FAST = Machine(bf16_matmul_speedup=2.0, bf16_conv_speedup=2.5, channels_last_conv_speedup=1.3)
SLOW = Machine(bf16_matmul_speedup=0.6, bf16_conv_speedup=0.5, channels_last_conv_speedup=1.02)
GPU = Machine(bf16_matmul_speedup=8.0, bf16_conv_speedup=4.0, channels_last_conv_speedup=1.6, device_memory=2.0**34)


def chosen(name: str, here: Device, machine: Machine, **keys: Any) -> dict[str, Any]:
    config = load_config(CONFIGS / f"{name}.yaml")
    values = {key: getattr(config, key) for key in config.__struct_fields__} | keys
    found = choices(values, config.workload, here, machine, keeps_memory=True)
    assert all(each.why for each in found)
    return {each.key: each.value for each in found}


def card(name: str) -> Device:
    return device_of_card(find(name))


def test_a_cpu_gets_what_was_measured_and_nothing_that_it_would_ignore() -> None:
    expected = {
        "use_mixed_precision": True,
        "channels_last": True,
        "keep_freed_memory": True,
        "num_workers": "auto",
    }
    assert chosen("restoration", CPU, FAST) == expected
    assert chosen("restoration", CPU, SLOW) == {"keep_freed_memory": True, "num_workers": "auto"}
    assert chosen("restoration", CPU, SLOW, use_mixed_precision=True)["use_mixed_precision"] is False
    assert chosen("restoration_rtx4090", CPU, FAST)["pin_memory"] is False
    assert chosen("restoration", CPU, FAST, device="cuda")["device"] == "auto"
    # Pictures alone have a layout; a set that lies on the device needs no workers.
    assert "channels_last" not in chosen("apt", CPU, FAST)
    assert "num_workers" not in chosen("apt", CPU, FAST, whole_set=True)


def test_a_card_gets_the_precision_that_it_has_units_for() -> None:
    found = chosen("restoration", card("RTX 4090"), GPU)
    assert found == {
        "use_mixed_precision": True,
        "channels_last": True,
        "matmul_precision": "high",
        "cudnn_benchmark": True,
        "pin_memory": True,
        "num_workers": "auto",
        "persistent_workers": True,
    }
    volta = chosen("restoration", card("Tesla V100-SXM2-16GB"), SLOW)
    assert (volta["use_mixed_precision"], volta["mixed_precision_dtype"]) == (True, "float16")
    assert "matmul_precision" not in volta
    pascal = chosen("restoration", card("GTX 1080"), SLOW)
    assert "use_mixed_precision" not in pascal
    assert "matmul_precision" not in pascal
    # Patches that grow would have cuDNN choose again.
    assert "cudnn_benchmark" not in chosen("restoration", card("RTX 4090"), GPU, patch_size={0: 32, 5: 64})
    assert chosen("vrt_spike", card("RTX 4090"), GPU, amp_opt_level="O0")["amp_opt_level"] == "O1"


def test_what_is_set_so_already_is_no_choice() -> None:
    assert chosen("restoration_rtx4090", card("RTX 4090"), GPU) == {}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_keeps_memory", lambda: True)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_written_is_read_by_the_training(path: Path, tmp_path: Path) -> None:
    """Every key is one of its own, and has the value that was said; comments stay."""
    output = tmp_path / output_of(path).name
    found = optimize(path, output, machine=FAST)
    config = load_config(output)
    keys = {config.path(name): getattr(config, name) for name in config.__struct_fields__}
    assert found.choices
    assert {each.key: keys[each.key] for each in found.choices} == {each.key: each.after for each in found.choices}
    before, after = path.read_text().splitlines(), output.read_text().splitlines()
    assert [line for line in before if line.startswith("#")] == [line for line in after if line.startswith("#")]
    assert output.name == f"{path.stem}_gpu_optimized.yaml"
    # Twice is once.
    assert not optimize(output, tmp_path / "again.yaml", machine=FAST).choices


@pytest.mark.usefixtures("no_gpu")
def test_what_this_machine_refuses_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "WORKLOAD: vrt_spike\nDATA:\n  USE_RAM_CACHE: true\n  CACHE_SIZE_GB: 100000\nTRAIN:\n  AMP_ENABLED: true\n"
        "  AMP_DTYPE: float16 # half\n"
    )
    found = optimize(path, tmp_path / "new.yaml", machine=FAST)
    after = {each.key: each.after for each in found.choices}
    assert after["TRAIN.AMP_DTYPE"] == "bfloat16"
    assert after["DATA.CACHE_SIZE_GB"] < 100000
    assert "AMP_DTYPE: bfloat16 # half" in (tmp_path / "new.yaml").read_text()


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("machine", "mixed"), [(FAST, True), (SLOW, False)])
def test_what_is_mended_is_judged_as_it_is_then(machine: Machine, mixed: bool, tmp_path: Path) -> None:
    """float16 on a CPU becomes bfloat16, unless that is slow: then neither."""
    path = tmp_path / "mine.yaml"
    path.write_text("use_mixed_precision: true\nmixed_precision_dtype: float16\ndevice: cpu\n")
    found = optimize(path, tmp_path / "new.yaml", machine=machine)
    after = {each.key: each.after for each in found.choices}
    assert after.get("use_mixed_precision", True) is mixed
    assert after.get("mixed_precision_dtype") == ("bfloat16" if mixed else None)


def test_for_the_cpu_the_cpu_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ratios of a GPU say nothing about it."""
    asked: list[list[str]] = []

    def run(words: list[str], **options: Any) -> Any:
        asked.append(words)
        raise OSError("made up")

    monkeypatch.setattr("hotlap.tune.calibration.subprocess.run", run)
    for device in ("cpu", "auto"):
        path = tmp_path / f"{device}.yaml"
        path.write_text(f"device: {device}\n")
        optimize(path, tmp_path / "new.yaml")
    assert [words[2:] for words in asked] == [["cpu"], []]


def test_the_source_is_never_the_result(tmp_path: Path) -> None:
    """By another path or a link neither, and not from Python."""
    path, link = tmp_path / "mine.yaml", tmp_path / "link.yaml"
    path.write_text("momentum: 0.5\n")
    link.symlink_to(path)
    for same in (path, link, tmp_path / ".." / tmp_path.name / "mine.yaml"):
        with pytest.raises(UsageError, match="is read here"):
            hotlap.auto_optimize_config(path, same)
    assert path.read_text() == "momentum: 0.5\n"


def test_by_its_other_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "calibrated", lambda command, on_cpu: (SLOW, "made up"))
    found = hotlap.auto_optimize_config(CONFIGS / "apt.yaml", tmp_path / "out.yaml")
    assert isinstance(found, Optimized)
    assert "made up" in found.notes
    assert load_config(tmp_path / "out.yaml").num_workers == "auto"
