"""What is between the model's output and its gradients: the loss, and clipping."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, plural, time
from hotlap.diagnose.rules.lines import slow_lines
from hotlap.diagnose.thresholds import CLIP_SECONDS, CLIP_SHARE, LOSS_SECONDS, LOSS_SHARE
from hotlap.records import Finding


class SlowLoss(Rule):
    code = "LOSS01"
    title = "Computing the loss takes a large part of the step"
    meaning = (
        "Between the model's output and backward much is computed: a loss in Python loops or at many scales, or a "
        "second network that compares output and target (a perceptual loss, a teacher)."
    )
    evidence_needed = (
        "The mean `loss` of the steady steps: calls of loss modules and of networks that nobody trains after the model "
        "was called, and the script's own code between the model and backward. More than a fifth of the step and "
        "0.25 ms. In the first six steps also which modules were called there, and "
        "where none is, samples of the lines that run (see OTHER01)."
    )
    remedy = (
        "Compute it with batched tensor operations instead of loops, on fewer scales or smaller crops, or compile it."
    )
    limits = (
        "The bound removes the loss from the forward only; what it costs in backward comes on top and is not told "
        "apart. A loss that the model computes itself counts as forward. Code between the model and backward that is "
        "no loss counts as one."
    )
    changes = ("perceptual_every", "perceptual_layers")

    def check(self, context: Context) -> Finding | None:
        seconds = context.spent("loss") - context.growth("loss")
        if (seconds if context.device_bound else context.typical("loss")) <= LOSS_SECONDS * context.micro_batches:
            return None
        evidence = [f"The loss takes {part(context, seconds)}."]
        modules = context.facts.switches.loss_modules
        networks = {name: size for name, size in modules.items() if size}
        plain = [name for name, size in modules.items() if not size]
        remedy, changes = self.remedy, self.changes if networks else ()
        if networks:
            sizes = ", ".join(f"{name} ({size:,} parameters)" for name, size in networks.items())
            evidence.append(f"A network runs inside the loss: {sizes}.")
            remedy = (
                "Use a lighter network or fewer of its layers, on smaller crops or every N steps. Run it without "
                "gradients for the target (`torch.no_grad`) and in a lower precision, and keep what it says of targets "
                "that come back."
            )
        if plain:
            evidence.append(f"Loss modules that were called: {', '.join(plain)}.")
        if not modules:
            evidence.append("No loss module was called: it is computed in the script's own code.")
            # Where the device's seconds count, those of the host's lines say where it waits.
            evidence += [] if context.device_bound else slow_lines(context, "loss", seconds)
        evidence.append("What it costs in backward comes on top and is not part of this.")
        return self.finding(context, seconds, evidence, least=LOSS_SHARE, remedy=remedy, changes=changes)


class SlowClipping(Rule):
    code = "CLIP01"
    title = "Clipping the gradients takes a large part of the step"
    meaning = (
        "The norm of each gradient is computed and each is scaled, in operations of their own: with many small "
        "tensors, or a call for each of them, calling takes longer than computing."
    )
    evidence_needed = (
        "The mean `gradient_clip` of the steady steps (`clip_grad_norm_`, `clip_grad_value_`), above a tenth of the "
        "step and 0.25 ms, the number of calls in a step and of parameter tensors."
    )
    remedy = "Clip all parameters in one call with `foreach=True`."
    limits = (
        "The bound removes clipping altogether; reading every gradient once is the least that it takes. Clipping that "
        "a script writes out itself counts as `other`. Another order of summing changes the losses by rounding."
    )

    def check(self, context: Context) -> Finding | None:
        seconds = context.spent("gradient_clip")
        if context.typical("gradient_clip") <= CLIP_SECONDS:
            return None
        evidence = [f"Clipping takes {part(context, seconds)}."]
        calls, tensors = context.facts.switches.clip_calls or 1, context.facts.parameter_tensors
        evidence.append(f"{plural(calls, 'call')} in a step, {time(seconds / calls)} each.")
        if tensors:
            evidence.append(f"The model has {plural(tensors, 'parameter tensor')}: {time(seconds / tensors)} each.")
        remedy = self.remedy
        if calls > 1:
            remedy += " One norm over all of them clips less often than a norm for each: another training."
        return self.finding(context, seconds, evidence, least=CLIP_SHARE, remedy=remedy)
