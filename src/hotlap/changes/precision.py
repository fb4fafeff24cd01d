"""bfloat16 where the machine computes it faster."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    facts, machine = situation.facts, situation.machine
    if facts.autocast or facts.parameter_dtype not in (None, "float32"):
        return []
    measured = [ratio for ratio in (machine.bf16_matmul_speedup, machine.bf16_conv_speedup) if ratio is not None]
    # Half the bytes help what is bound by memory, so the arithmetic's ratio alone is no bound; none above 1 is.
    hopeless = bool(measured) and max(measured) < 1
    return [
        Change(
            name="precision",
            value="bf16",
            title="bfloat16 autocast",
            numerics="rounding",
            inject={"autocast": "bfloat16"},
            edits={"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"},
            bound=1.0 if hopeless else situation.bound("forward", "backward", "loss", "recompute"),
            note="fp16 is never tried on a CPU: it was measured 50 times slower" if situation.on_cpu else "",
        )
    ]
