"""The arithmetic could run faster on this machine: precision and memory layout."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, saved
from hotlap.diagnose.thresholds import MACHINE_GAIN
from hotlap.records import Finding


class FullPrecision(Rule):
    code = "PRECISION01"
    title = "The model computes in float32 where this machine is faster in bfloat16"
    meaning = "Parameters are float32 and no autocast is on, while the device multiplies bfloat16 faster."
    evidence_needed = (
        "The dtype of the parameters, no autocast, and the ratio of bfloat16 to float32 that calibration measured on "
        "this machine for matrix products or, where the model has them, convolutions."
    )
    remedy = "Run forward and loss under `torch.autocast(dtype=torch.bfloat16)`; parameters stay float32."
    limits = (
        "The bound applies the ratio to all of forward and backward; elementwise work and reductions gain less. "
        "Numerics: rounding, so the losses have to be compared."
    )
    changes = ("precision", "matmul_precision")

    def check(self, context: Context) -> Finding | None:
        facts, speedup = context.facts, bf16_speedup(context)
        dtype = (facts.parameter_dtype or "").removeprefix("torch.")
        if speedup is None or speedup <= MACHINE_GAIN or facts.autocast is not None or dtype != "float32":
            return None
        evidence = [
            "Parameters are float32 and autocast is off.",
            f"Calibration: bfloat16 is up to {speedup:.2f} times as fast as float32 on this machine.",
            f"Forward and backward take {part(context, context.compute)}.",
        ]
        return self.finding(context, context.compute * saved(speedup), evidence)


class ContiguousLayout(Rule):
    code = "LAYOUT01"
    title = "Convolutions run in a layout that is slower on this machine"
    meaning = (
        "Images are kept plane by plane (NCHW, contiguous), while the convolutions of this machine are faster with the "
        "channels of a pixel side by side (channels_last)."
    )
    evidence_needed = (
        "Convolutions in the model, channels_last not in use, and the ratio of the two layouts that calibration "
        "measured on this machine."
    )
    remedy = "Use `model.to(memory_format=torch.channels_last)`, and the same for the input."
    limits = (
        "The bound applies the ratio to all of forward and backward. Operators without a channels_last kernel convert "
        "back and forth, which can cost more than is gained. Numerics: rounding."
    )
    changes = ("layout",)

    def check(self, context: Context) -> Finding | None:
        facts = context.facts
        speedup = context.machine.channels_last_conv_speedup if context.machine else None
        if not facts.convolutions or facts.channels_last is not False or speedup is None or speedup <= MACHINE_GAIN:
            return None
        evidence = [
            f"The model has {facts.convolutions} convolutions, and its parameters are contiguous (NCHW).",
            f"Calibration: convolutions in channels_last are {speedup:.2f} times as fast on this machine.",
            f"Forward and backward take {part(context, context.compute)}.",
        ]
        return self.finding(context, context.compute * saved(speedup), evidence)


def bf16_speedup(context: Context) -> float | None:
    """The larger of the measured ratios that apply to this model: what bfloat16 can give at most."""
    if context.machine is None:
        return None
    ratios = [context.machine.bf16_matmul_speedup]
    if context.facts.convolutions != 0:
        ratios.append(context.machine.bf16_conv_speedup)
    return max((ratio for ratio in ratios if ratio is not None), default=None)
