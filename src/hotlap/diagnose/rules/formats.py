"""Formats of numbers that are slower, or less safe, than they have to be."""

from __future__ import annotations

import math

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, number, part, percent, plural, saved
from hotlap.diagnose.thresholds import (
    FLOAT64_CPU,
    FLOAT64_CUDA,
    MACHINE_GAIN,
    MOSTLY_CONVOLUTIONS,
    SKIPPED_SHARE,
    SKIPPED_STEPS,
    TF32_GAIN,
)
from hotlap.records import Finding


class DoublePrecision(Rule):
    code = "PRECISION02"
    title = "The model computes in float64"
    meaning = (
        "Parameters are float64, often because the data came from numpy, whose default it is. Everything takes twice "
        "the memory, a CPU does half as many operations at a time, and most GPUs a small fraction."
    )
    evidence_needed = (
        "The dtype of the parameters (more than half of the tensors), and the time of forward and backward."
    )
    remedy = "Convert the data (`.float()`, `np.float32`) and leave the model in torch's default, float32."
    limits = (
        "The bound takes float32 to be twice as fast on a CPU (half the bytes) and 64 times on a GPU, for all of "
        "forward, backward and the optimizer. Some methods need float64. It is another training."
    )

    def check(self, context: Context) -> Finding | None:
        dtypes = context.facts.switches.dtypes
        wide = dtypes.get("float64", 0)
        if 2 * wide <= sum(dtypes.values()):
            return None
        seconds = context.seconds("forward", "loss", "backward", "recompute", "optimizer")
        ratio = FLOAT64_CUDA if context.on_cuda else FLOAT64_CPU
        evidence = [
            f"{wide} of {plural(sum(dtypes.values()), 'parameter tensor')} are float64.",
            f"Forward, loss, backward and the optimizer take {part(context, seconds)}.",
        ]
        return self.finding(context, seconds * saved(ratio), evidence)


class HalfOnCpu(Rule):
    code = "PRECISION03"
    title = "float16 is used on a CPU that is slow in it"
    meaning = (
        "Few CPUs multiply float16 in hardware. The others convert every number, which can take "
        "ten or a hundred times as long as float32."
    )
    evidence_needed = (
        "Autocast to float16, or parameters in it, with a model on the CPU; and how much longer a product of two small "
        "matrices takes in float16 than in float32, tried once in the process itself."
    )
    remedy = "Compute in float32 on this machine, or in bfloat16 where it is faster; keep float16 for GPUs."
    limits = (
        "The bound applies the ratio of one product of 128 x 128 matrices to all of forward and backward. Large "
        "products and convolutions can be worse off, elementwise work is less. Numerics: rounding."
    )

    def check(self, context: Context) -> Finding | None:
        facts, ratio = context.facts, context.facts.switches.float16_slowdown
        if facts.device != "cpu" or ratio is None or ratio <= MACHINE_GAIN:
            return None
        evidence = [
            f"{'Autocast' if facts.autocast == 'float16' else 'The model'} computes in float16, on the CPU.",
            f"A product of two small matrices takes {number(ratio)} times as long in float16 as in float32 here.",
            f"Forward and backward take {part(context, context.compute)}.",
        ]
        return self.finding(context, context.compute * saved(ratio), evidence)


class NoTensorFloat(Rule):
    code = "PRECISION04"
    title = "TF32 is off on a GPU that has it"
    meaning = (
        "GPUs since Ampere multiply float32 matrices in TF32, with float32's range and a mantissa of 10 bits, several "
        "times as fast. torch leaves it off for products of matrices unless it is asked."
    )
    evidence_needed = (
        "The device's capability (8.0 or more), torch's precision of float32 products, parameters in float32, no "
        "autocast, and a model that does not consist of convolutions (for them TF32 is on by default)."
    )
    remedy = 'Say `torch.set_float32_matmul_precision("high")` once, before the training.'
    limits = (
        "The bound takes all of forward and backward to be products of matrices, and TF32 to be 8 times as fast, the "
        "most that data sheets claim. Numerics: rounding."
    )

    def check(self, context: Context) -> Finding | None:
        facts, switches = context.facts, context.facts.switches
        able = switches.capability is not None and switches.capability >= (8, 0)
        if not able or switches.tf32_matmul is not False or facts.autocast or facts.parameter_dtype != "float32":
            return None
        convolved = (facts.convolutions or 0) > MOSTLY_CONVOLUTIONS * (facts.parameter_tensors or 0)
        if convolved and switches.tf32_convolutions is not False:
            return None
        evidence = [
            f"The device has capability {switches.capability[0]}.{switches.capability[1]}."  # type: ignore[index]
            " Products of float32 matrices run in full precision.",
            f"Parameters are float32 and autocast is off. Forward and backward take {part(context, context.compute)}.",
        ]
        return self.finding(context, context.compute * saved(TF32_GAIN), evidence)


class ScalerTrouble(Rule):
    code = "PRECISION05"
    title = "The gradient scaler does not fit the training"
    meaning = (
        "A gradient scaler keeps small float16 gradients from vanishing. It leaves a step out, and halves its scale, "
        "when gradients overflow. Steps that are left out cost time and train nothing; beside bfloat16, which has "
        "float32's range, the scaler is of no use."
    )
    evidence_needed = (
        "An enabled `GradScaler` that stepped, its scale once the training was warm and at the end, and the dtype of "
        "autocast."
    )
    remedy = "Look for what overflows (the learning rate, a division, a loss that is summed), or use bfloat16."
    limits = (
        "Steps left out are counted from the scale's fall alone, so they are the fewest that are possible. What the "
        "scaler itself costs is not measured: `hotlap compare` does."
    )
    risk = True

    def check(self, context: Context) -> Finding | None:
        switches, autocast = context.facts.switches, context.facts.autocast
        first, last = switches.scale_first, switches.scale_last
        if first is None or last is None:
            return None
        if autocast == "bfloat16":
            evidence = ["A gradient scaler is enabled, and autocast computes in bfloat16, which needs none."]
            return self.finding(context, 0.0, evidence, remedy="Leave the gradient scaler out.")
        steps = len(context.run.steps)
        skipped = round(math.log2(first / last)) if last > 0 else steps
        if skipped < max(SKIPPED_STEPS, SKIPPED_SHARE * steps):
            return None
        evidence = [
            f"The scale fell from {first:g} to {last:g}.",
            f"So at least {skipped} of {plural(steps, 'step')} ({percent(skipped / steps)}) were left out.",
        ]
        return self.finding(context, 0.0, evidence)
