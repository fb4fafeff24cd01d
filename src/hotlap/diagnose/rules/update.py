"""Work that trains nothing by itself: the optimizer's update, and recomputed activations."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.implementation import FOREACH, FUSED, implementation, is_default
from hotlap.diagnose.rules.base import Rule, part, percent, plural, time
from hotlap.diagnose.thresholds import MEMORY_HALF, OPTIMIZER_SECONDS, OPTIMIZER_SHARE, RECOMPUTE_SHARE
from hotlap.records import Facts, Finding


class SlowOptimizer(Rule):
    code = "OPTIMIZER01"
    title = "The optimizer's update is made of many small operations"
    meaning = (
        "The update is not fused: it goes tensor by tensor (loop) or group by group (foreach), and each of its "
        "operations goes through memory once more."
    )
    evidence_needed = "The share of `optimizer`, the number of parameter tensors, and the implementation in use."
    remedy = "Use the fused implementation (`fused=True`)."
    limits = (
        "The bound removes the whole update; a fused one still takes time, and on some machines it is no faster. "
        "An optimizer of one's own may have no fused form. Where the script leaves the implementation to torch, it is "
        "told from the optimizer and the device; torch loops over parameters of special kinds (DTensor) on a GPU, too. "
        "An update of less than 0.3 ms is not reported: the call of `step()` itself takes up to about that. LBFGS "
        "works on one vector and is not looked at."
    )
    changes = ("optimizer",)

    def check(self, context: Context) -> Finding | None:
        facts, seconds = context.facts, context.spent("optimizer")
        if facts.optimizer_fused is True or facts.optimizer == "LBFGS":
            return None
        if (seconds if context.device_bound else context.typical("optimizer")) <= OPTIMIZER_SECONDS:
            return None
        name = facts.optimizer or "the optimizer"
        tensors = facts.parameter_tensors
        evidence = [f"{name[0].upper()}{name[1:]} takes {part(context, seconds)}.", _how(facts)]
        if tensors:
            evidence.append(f"It updates {plural(tensors, 'tensor')}: {time(seconds / tensors)} each.")
        remedy = self.remedy
        changes: tuple[str, ...] = self.changes
        if facts.optimizer is not None and facts.optimizer not in FUSED:
            remedy = f"torch has no fused {facts.optimizer}: "
            if implementation(facts) == "loop":
                known = "" if facts.optimizer in FOREACH else " if it has that"
                remedy += f"try `foreach=True`{known}, or a fused implementation of the same update."
            else:
                remedy += "look for a fused implementation of the same update."
                changes = ()
        return self.finding(context, seconds, evidence, least=OPTIMIZER_SHARE, remedy=remedy, changes=changes)


def _how(facts: Facts) -> str:
    # torch fuses nothing by default; of another optimizer, the name says nothing.
    off = facts.optimizer_fused is False or facts.optimizer in FOREACH
    words = {"fused": "fused", "foreach": "foreach", "loop": "a loop over tensors", None: "not known"}
    now = implementation(facts)
    default = ", torch's default here" if now is not None and is_default(facts) else ""
    return f"Fused is {'off' if off else 'not known to be on'}; implementation: {words[now]}{default}."


class NeedlessCheckpointing(Rule):
    code = "CHECKPOINT01"
    title = "Activations are recomputed although memory is free"
    meaning = (
        "Activation checkpointing drops activations in forward and computes them again in backward. It trades time for "
        "memory, and here more than half of the memory is unused."
    )
    evidence_needed = (
        "The share of `recompute`, and the peak memory of the device (on a CPU: of the process) against what there is."
    )
    remedy = "Switch activation checkpointing off, for all blocks or for as many as fit."
    limits = (
        "How much memory the activations will take is not known beforehand; a trial has to show that it fits. On a "
        "GPU the rule needs the size of its memory from calibration."
    )
    changes = ("checkpointing",)

    def check(self, context: Context) -> Finding | None:
        facts, seconds = context.facts, context.seconds("recompute")
        if context.on_cuda:
            peak, limit = facts.peak_device_memory, context.machine.device_memory if context.machine else None
        else:
            peak, limit = facts.peak_memory, context.run.info.environment.memory
        if peak is None or not limit or peak >= MEMORY_HALF * limit:
            return None
        evidence = [
            f"Recomputing activations takes {part(context, seconds)}.",
            f"The peak of memory is {peak / 2**30:.2f} GiB of {limit / 2**30:.2f} GiB ({percent(peak / limit)}).",
        ]
        return self.finding(context, seconds, evidence, least=RECOMPUTE_SHARE)
