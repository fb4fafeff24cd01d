"""The micro-batch is too small for the device."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, number, part, time
from hotlap.diagnose.thresholds import DISPATCH_CPU, DISPATCH_CUDA, DISPATCH_FADE
from hotlap.records import Finding


class SmallMicroBatch(Rule):
    code = "BATCH01"
    title = "The micro-batches are so small that calling the layers costs as much as computing them"
    meaning = (
        "Gradients are accumulated over several micro-batches, and each layer call is so short that Python and the "
        "dispatch of its operators are a large part of it. Larger micro-batches with fewer accumulation steps do the "
        "same arithmetic with fewer calls."
    )
    evidence_needed = (
        "More than one micro-batch a step, and the forward seconds of a step divided by its module calls: below about "
        "60 µs on a CPU or 100 µs on a CUDA device a call is mostly dispatch."
    )
    remedy = (
        "Use larger micro-batches and fewer accumulation steps, with the same effective batch; the losses then agree "
        "up to rounding, unless a layer looks at the whole micro-batch (batch normalisation)."
    )
    limits = (
        "The bound supposes that a micro-batch of any size takes as long as the present one. Larger micro-batches "
        "need more memory, and on a CPU they can be slower once they leave the cache. Module calls count "
        "containers too."
    )
    changes = ("micro_batch",)

    def check(self, context: Context) -> Finding | None:
        calls, micro_batches = context.facts.module_calls, context.micro_batches
        forward = context.seconds("forward")
        if not calls or micro_batches <= 1 or forward <= 0:
            return None
        per_call = forward / calls
        size = DISPATCH_CUDA if context.on_cuda else DISPATCH_CPU
        weight = min(1.0, (DISPATCH_FADE * size - per_call) / ((DISPATCH_FADE - 1) * size))
        at_stake = context.seconds("forward", "backward") * (1 - 1 / micro_batches) * max(0.0, weight)
        evidence = [
            f"A step has {number(micro_batches)} micro-batches"
            + (f" of {context.facts.batch_size} samples." if context.facts.batch_size else "."),
            f"A module call takes {time(per_call)} of forward on average ({calls} calls a step).",
            f"Forward and backward take {part(context, context.seconds('forward', 'backward'))}.",
        ]
        return self.finding(context, at_stake, evidence)
