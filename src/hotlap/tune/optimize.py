"""`hotlap optimize`: a configuration made for this machine.

the machine ── device, cores, memory; calibration (bfloat16, channels last) ──> hardware   ┐
the configuration ── what lint finds that this machine refuses or does not read ──> remedies ┴──> edited YAML
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from hotlap.diagnose import Machine
from hotlap.diagnose.lint import Device
from hotlap.errors import ConfigError, UsageError
from hotlap.estimate.cards import find
from hotlap.launch.environment import environment
from hotlap.records import Choice, ConfigFinding, Environment, Optimized, write_whole
from hotlap.train.config import load_config, read_config
from hotlap.tune.adopt import edit_yaml
from hotlap.tune.calibration import calibrated
from hotlap.tune.hardware import Chosen, choices
from hotlap.tune.linted import device_of_card, lint_config

#: What the linter finds that this machine refuses, or that has no effect here; all else is the user's choice.
_MENDED = ("CONFIG05", "CONFIG06", "CONFIG07", "CONFIG11", "CONFIG13")
#: Decided by a measurement of this very training.
_MEASURED = (
    "compile_model, the micro-batch, the optimizer's implementation and checkpointing are left as they are: whether "
    "they make this training faster has to be measured (--benchmark)"
)


def output_of(config: Path) -> Path:
    return config.with_name(f"{config.stem}_gpu_optimized{config.suffix}")


def refuse_to_replace(read: Iterable[Path], written: Path) -> None:
    """Raises UsageError where what is written is a file that is read, by whatever path or link."""
    for each in read:
        if each.resolve() == written.resolve() or (each.exists() and written.exists() and each.samefile(written)):
            raise UsageError(f"{written} is read here, and cannot be the result: give another file with --output")


def optimize(
    config: Path,
    output: Path,
    *,
    ranks: int = 1,
    machine: Machine | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Optimized:
    """Write ``output``: ``config`` with the keys that suit this machine, every other character as it was.

    ``machine`` is what calibration measured; it is measured now where it is not given.

    Raises:
        ConfigError: the configuration is wrong, or cannot be edited safely.
        UsageError: ``output`` is the configuration itself.
    """
    refuse_to_replace([config], output)
    loaded, spelled = read_config(config)
    here = environment()
    notes = []
    values = {name: getattr(loaded, name) for name in loaded.__struct_fields__}
    if machine is None:
        progress("measuring bfloat16 and channels last on this machine")
        machine, trouble = calibrated([sys.executable], on_cpu=values["device"] == "cpu")
        notes += [trouble] if trouble else []
    device, said = _device(values, here, machine)
    notes += said
    found = lint_config(config, ranks=ranks, gpu="none" if device.kind == "cpu" else None)
    chosen = _chosen(_mended(found.findings, spelled), values, loaded.workload, device, machine)
    text = config.read_bytes().decode()
    edited = edit_yaml(text, {spelled[key][0]: each.value for key, each in chosen.items()}, dotted=True)
    _check(edited, config)
    write_whole(output, edited.encode())
    return Optimized(
        config=str(config),
        output=str(output),
        surroundings=msgspec.structs.replace(found.surroundings, device=device.name),
        measured={
            "bf16_matmul": machine.bf16_matmul_speedup,
            "bf16_conv": machine.bf16_conv_speedup,
            "channels_last_conv": machine.channels_last_conv_speedup,
        },
        choices=[
            Choice(key=spelled[key][0], before=values[key], after=each.value, why=each.why, numerics=each.numerics)
            for key, each in chosen.items()
        ],
        notes=[*notes, _MEASURED],
    )


def _chosen(
    mended: dict[str, Chosen], values: dict[str, Any], workload: str, device: Device, machine: Machine
) -> dict[str, Chosen]:
    """What suits the machine, of the configuration as it is mended; only what differs from what it was."""
    after = values | {key: each.value for key, each in mended.items()}
    suits = choices(after, workload, device, machine, keeps_memory=_keeps_memory())
    chosen = mended | {each.key: each for each in suits}
    if "use_mixed_precision" in chosen and not chosen["use_mixed_precision"].value:
        chosen.pop("mixed_precision_dtype", None)  # nothing reads it then
    return {key: each for key, each in chosen.items() if each.value != values[key]}


def _device(values: dict[str, Any], here: Environment, machine: Machine) -> tuple[Device, list[str]]:
    """What it will train on, as PyTorch sees it, and what to know about that."""
    if values["device"] == "cpu":
        return Device(kind="cpu", name="cpu"), ["the configuration says device: cpu, so it was made for that"]
    if machine.device_memory is None:
        seen = f"{here.gpus[0]} is there, but PyTorch cannot use it: install a build for CUDA" if here.gpus else ""
        return Device(kind="cpu", name="cpu"), [seen or "PyTorch sees no GPU here, so it was made for the CPU"]
    name = here.gpus[0] if here.gpus else "GPU"
    try:
        return device_of_card(find(name, int(machine.device_memory))), []
    except UsageError:
        unknown = f"{name} is not in the catalogue of GPUs, so what it has units for was not looked up"
        return Device(kind="cuda", name=name), [unknown]


def _mended(findings: list[ConfigFinding], spelled: dict[str, list[str]]) -> dict[str, Chosen]:
    keys = {paths[0]: key for key, paths in spelled.items() if len(paths) == 1}
    return {
        keys[path]: Chosen(
            keys[path],
            value,
            f"{each.code}: {each.evidence[0].rstrip('.')}",
            "rounding" if each.code in ("CONFIG11", "CONFIG13") else "exact",
        )
        for each in findings
        if each.code in _MENDED
        for path, value in each.remedy.items()
    }


def _keeps_memory() -> bool:
    return platform.libc_ver()[0] == "glibc" and not os.environ.get("LD_PRELOAD")


def _check(edited: str, config: Path) -> None:
    """Raises ConfigError where the training would refuse what was edited."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, config.name)
        copy.write_text(edited, encoding="utf-8")
        try:
            load_config(copy)
        except ConfigError as error:
            raise ConfigError(f"{config} cannot be changed for this machine: {error}") from None
