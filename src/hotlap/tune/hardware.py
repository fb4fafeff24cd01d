"""What suits a machine: pure, from what a configuration says, what the device is, and what calibration measured.

Only what is known without training is chosen. What depends on the training (compilation, the micro-batch, fused
optimizers) is left to a measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hotlap.diagnose import Machine
from hotlap.diagnose.lint import Device
from hotlap.records import NumericsClass

#: Ratios of throughput on typical shapes from which a layout or precision is taken, and below which it is taken back.
_FASTER, _SLOWER = 1.15, 0.95


class Chosen(NamedTuple):
    """A canonical key with the value that it is to have."""

    key: str
    value: Any
    why: str
    numerics: NumericsClass


def choices(
    values: Mapping[str, Any], workload: str, device: Device, machine: Machine, *, keeps_memory: bool
) -> list[Chosen]:
    """``keeps_memory``: whether the C library can be told to keep what is freed."""
    found = [*_precision(values, workload, device, machine), *_layout(values, workload, machine)]
    found += _of_a_gpu(values, workload, device) if device.kind == "cuda" else _of_a_cpu(values, keeps_memory)
    found += _loader(values, device)
    return [each for each in found if each.key in values and values[each.key] != each.value]


def _precision(values: Mapping[str, Any], workload: str, device: Device, machine: Machine) -> Iterator[Chosen]:
    if workload == "restoration":
        ratio, of = machine.bf16_conv_speedup, "convolutions"
    else:
        ratio, of = machine.bf16_matmul_speedup, "matrix products"
    if ratio is None:
        return
    measured = f"{of} are {ratio:.2f} times as fast in bfloat16 as in float32 here (measured on a typical shape)"
    half = values.get("mixed_precision_dtype") if values.get("use_mixed_precision") else None
    if ratio >= _FASTER and device.bfloat16 is not False:
        if half != "float16":  # which was chosen, and has units wherever bfloat16 has
            yield from _in_half(values, "bfloat16", measured)
    elif device.kind == "cuda" and device.float16 and device.bfloat16 is False:
        why = f"the {device.name} has units for float16 and none for bfloat16 (published); gradients are scaled"
        yield from _in_half(values, "float16", why)
    elif half == "bfloat16" and ratio <= _SLOWER:
        yield Chosen("use_mixed_precision", False, f"{measured}, which is slower", "rounding")


def _in_half(values: Mapping[str, Any], dtype: str, why: str) -> Iterator[Chosen]:
    yield Chosen("use_mixed_precision", True, why, "rounding")
    yield Chosen("mixed_precision_dtype", dtype, why, "rounding")
    if values.get("amp_opt_level") == "O0":
        yield Chosen("amp_opt_level", "O1", "O0 means float32", "rounding")


def _layout(values: Mapping[str, Any], workload: str, machine: Machine) -> Iterator[Chosen]:
    ratio = machine.channels_last_conv_speedup
    if workload != "restoration" or ratio is None:
        return
    measured = f"convolutions are {ratio:.2f} times as fast with channels last here (measured on a typical shape)"
    if ratio >= _FASTER:
        yield Chosen("channels_last", True, measured, "rounding")
    elif ratio <= _SLOWER:
        yield Chosen("channels_last", False, measured, "rounding")


def _of_a_gpu(values: Mapping[str, Any], workload: str, device: Device) -> Iterator[Chosen]:
    if device.tensor_float and values.get("matmul_precision") == "highest":
        why = f"what stays in float32 is multiplied in TF32, for which the {device.name} has units (published)"
        yield Chosen("matmul_precision", "high", why, "rounding")
    if workload == "restoration" and isinstance(values.get("patch_size"), int):
        why = "all patches have one size, so that cuDNN tries its algorithms once and keeps the fastest"
        yield Chosen("cudnn_benchmark", True, why, "rounding")
    yield Chosen("pin_memory", True, "copies to the GPU run beside the computation", "exact")


def _of_a_cpu(values: Mapping[str, Any], keeps_memory: bool) -> Iterator[Chosen]:
    if values.get("device") == "cuda":
        yield Chosen("device", "auto", "PyTorch sees no GPU here, and cuda would be refused", "exact")
    for key in ("pin_memory", "cudnn_benchmark"):
        yield Chosen(key, False, "there is no GPU, so nothing reads it", "exact")
    if keeps_memory:
        why = "what a step frees stays with the process, and the next step asks the kernel for nothing"
        yield Chosen("keep_freed_memory", True, why, "exact")


def _loader(values: Mapping[str, Any], device: Device) -> Iterator[Chosen]:
    if values.get("whole_set"):
        return
    why = "as many as keep up, measured at the start; any number gives the same samples"
    yield Chosen("num_workers", "auto", why, "exact")
    if device.kind == "cuda":
        yield Chosen("persistent_workers", True, "workers are started once, and not in every epoch", "exact")
