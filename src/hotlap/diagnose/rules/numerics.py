"""Losses that say that the training is not worth its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeVar

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, plural
from hotlap.diagnose.thresholds import CONSTANT, NOT_FINITE
from hotlap.records import Finding

_Each = TypeVar("_Each")


class NotFinite(Rule):
    code = "NUMERICS01"
    title = "The loss is not a finite number any more"
    meaning = "From some step on every loss is NaN or infinite: all parameters soon are, and nothing is learnt."
    evidence_needed = "The losses on which backward was called: at the end of the run, at least three in a row."
    remedy = (
        "Go back to the last good checkpoint; lower the learning rate, clip gradients, or look for a division, a "
        "logarithm or float16 that overflows (`torch.autograd.set_detect_anomaly(True)` for a few steps)."
    )
    limits = "Where it began is the step whose loss showed it first; the cause may lie before it."
    risk = True

    def check(self, context: Context) -> Finding | None:
        losses = [(step.i, step.loss) for step in context.run.steps if step.loss is not None]
        count = _at_the_end(losses, lambda each: not math.isfinite(each[1]))
        if count < NOT_FINITE:
            return None
        step, loss = losses[-count]
        what = "not a number (NaN)" if math.isnan(loss) else "infinite"
        evidence = [f"The loss is {what} at step {step}, and not finite in the {plural(count, 'step')} from there on."]
        if count < len(losses):
            evidence.append(f"The last finite one was {losses[-count - 1][1]:.4g}.")
        return self.finding(context, 0.0, evidence)


class Unmoved(Rule):
    code = "NUMERICS02"
    title = "The loss does not move at all"
    meaning = (
        "Every step gives the same loss to the last bit. The parameters that the optimizer updates are not those that "
        "the model uses, the learning rate is 0, gradients are lost (`detach`, dead units), or the loss is a constant."
    )
    evidence_needed = "The losses on which backward was called: at the end of the run, at least 30 in a row are equal."
    remedy = (
        "Compare a parameter before and after a step, look whether its `.grad` is there and not 0, and whether the "
        "optimizer was made from the parameters of this model after they were moved or replaced."
    )
    limits = (
        "Only a loss on the same input can show it: with other samples at every step the loss moves although nothing "
        "is learnt. A loss of exactly 0 is taken for a training that has reached its aim."
    )
    risk = True

    def check(self, context: Context) -> Finding | None:
        losses = [step.loss for step in context.run.steps if step.loss is not None]
        if not losses or not math.isfinite(losses[-1]) or losses[-1] == 0:
            return None
        count = _at_the_end(losses, lambda each: each == losses[-1])
        if count < CONSTANT:
            return None
        return self.finding(context, 0.0, [f"The loss is {losses[-1]!r} in each of the last {plural(count, 'step')}."])


def _at_the_end(values: Sequence[_Each], holds: Callable[[_Each], bool]) -> int:
    """For how many of the last values it holds."""
    return sum(1 for _ in takewhile(holds, reversed(values)))
