"""Fewer bits where the machine computes them faster: autocast, float32 products in TF32, the whole model."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Scale of the loss to begin with: torch begins with 65536, and leaves out steps until nothing overflows.
INITIAL_SCALE = 1024.0
#: Values that can be asked for by name.
VALUES = ("bf16", "fp16", "pure-bf16")
#: From here on a GPU multiplies TF32 and bfloat16 (Ampere).
_AMPERE = (8, 0)


def propose(situation: Situation) -> list[Change]:
    if situation.facts.parameter_dtype not in (None, "float32"):
        return []
    changes = []
    if not situation.facts.autocast:
        changes = [_bf16(situation)] if situation.on_cpu else [_bf16(situation), _fp16(situation)]
    return [*changes, *_products(situation), *_cudnn(situation)]


def asked(name: str, value: str, situation: Situation) -> Change | None:
    """Those that are not proposed by themselves; None where it is none of them."""
    if (name, value) != ("precision", "pure-bf16"):
        return None
    return Change(
        name="precision",
        value="pure-bf16",
        title="the whole model in bfloat16",
        numerics="trajectory",
        inject={"pure": "bfloat16"},
        bound=situation.bound("forward", "backward", "loss", "recompute", "optimizer", "gradient_clip"),
        note="weights and the optimizer's state take half the memory; small updates of weights are lost in rounding",
    )


def _bf16(situation: Situation) -> Change:
    machine = situation.machine
    measured = [ratio for ratio in (machine.bf16_matmul_speedup, machine.bf16_conv_speedup) if ratio is not None]
    # Half the bytes help what is bound by memory, so the arithmetic's ratio alone is no bound; none above 1 is.
    hopeless = bool(measured) and max(measured) < 1
    return Change(
        name="precision",
        value="bf16",
        title="bfloat16 autocast",
        numerics="rounding",
        inject={"autocast": "bfloat16"},
        live=True,
        edits={"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"},
        bound=1.0 if hopeless else situation.bound("forward", "backward", "loss", "recompute"),
        note="fp16 is never tried on a CPU: it was measured 50 times slower" if situation.on_cpu else "",
    )


def _fp16(situation: Situation) -> Change:
    return Change(
        name="precision",
        value="fp16",
        title="float16 autocast with scaled gradients",
        numerics="rounding",
        inject={"autocast": "float16", "grad_scaling": INITIAL_SCALE},
        edits={"use_mixed_precision": True, "mixed_precision_dtype": "float16"},
        bound=situation.bound("forward", "backward", "loss", "recompute"),
        note=f"gradients are scaled, from {INITIAL_SCALE:g} on, and steps that overflow are left out; a script that "
        "reads gradients itself sees them scaled",
    )


def _products(situation: Situation) -> list[Change]:
    """Products of float32 that round their factors: to TF32 on a GPU, to bfloat16 on a CPU."""
    facts, capability = situation.facts, situation.facts.switches.capability
    if facts.autocast or facts.matmul_precision not in (None, "highest"):
        return []
    if facts.switches.tf32_matmul or (not situation.on_cpu and capability is not None and capability < _AMPERE):
        return []
    bound = situation.bound("forward", "backward", "loss", "recompute")
    # A CPU has no TF32, and medium is no more than high on a GPU.
    value, inside = ("medium", "bfloat16 inside") if situation.on_cpu else ("high", "TF32")
    return [
        Change(
            name="matmul_precision",
            value=value,
            title=f"float32 products in {inside}",
            numerics="rounding",
            inject={"matmul_precision": value},
            live=True,
            edits={"matmul_precision": value},
            bound=bound,
            note="weights, activations and sums stay float32",
        )
    ]


def _cudnn(situation: Situation) -> list[Change]:
    facts = situation.facts
    if situation.on_cpu or not facts.convolutions or facts.cudnn_benchmark or facts.switches.deterministic:
        return []
    return [
        Change(
            name="cudnn_benchmark",
            value="true",
            title="convolutions chosen by trying (cudnn.benchmark)",
            numerics="rounding",
            inject={"cudnn_benchmark": True},
            edits={"cudnn_benchmark": True},
            bound=situation.bound("forward", "backward", "recompute"),
            note="each new shape is tried anew, and workspaces may take more memory",
        )
    ]
