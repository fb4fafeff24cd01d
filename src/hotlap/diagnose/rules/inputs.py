"""Inputs that grow over the run: steps that take longer, and more memory, by design."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.inputs import Inputs, tenths
from hotlap.diagnose.memory import device_growth, growth
from hotlap.diagnose.rules.base import Rule, size, time
from hotlap.diagnose.thresholds import TREND_GROWTH
from hotlap.records import Finding


def called(inputs: Inputs) -> str:
    return (
        f"Modules were called with {size(inputs.first)} in the first tenth of the run and {size(inputs.last)} in the "
        f"last: {inputs.ratio:.3g} times as much."
    )


class GrowingInputs(Rule):
    code = "LOOP09"
    title = "The inputs grow over the run, and the steps with them"
    meaning = (
        "What the model is called with becomes larger from step to step: a curriculum of longer sequences or larger "
        "pictures. A step then takes longer, or more memory, without anything that leaks."
    )
    evidence_needed = (
        "Bytes of the tensors that modules are called with from outside, at points over the whole run, rising, and "
        "seconds or memory that grow no more than the square of it; memory that does not grow where they stay the same."
    )
    remedy = "Nothing to do where it is meant; else look for what is appended to the batch in every step."
    limits = (
        "Means over the run mix short steps and long ones. Where the inputs never stay the same for a while, something "
        "that is kept besides cannot be told from them."
    )
    information = True

    def check(self, context: Context) -> Finding | None:
        if context.inputs is None:
            return None
        evidence = [called(context.inputs)]
        first, last = tenths(context.steps)
        if first > 0 and last >= (1 + TREND_GROWTH) * first and context.inputs.explain(last / first):
            evidence.append(f"A step took {time(first)} in the first tenth and {time(last)} in the last.")
        for who, found in (("The GPU's memory", device_growth(context)), ("The training process", growth(context))):
            if found is not None and found.with_inputs:
                evidence.append(
                    f"{who} grew by {size(found.bytes)} from step {found.start} to step {found.end}, as the inputs did."
                )
        return self.finding(context, 0.0, evidence) if len(evidence) > 1 else None
