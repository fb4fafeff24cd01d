"""What is left to say: time without an explanation, too little to say anything, or nothing to complain about."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, percent, plural, time
from hotlap.diagnose.rules.host import where
from hotlap.diagnose.rules.lines import slow_lines
from hotlap.diagnose.rules.precision import bf16_speedup
from hotlap.diagnose.thresholds import (
    COMPUTE_SHARE,
    FEW_STEPS,
    LEAST_SHARE,
    MACHINE_GAIN,
    NOISY,
    OTHER_SECONDS,
    OTHER_SHARE,
)
from hotlap.records import Finding

#: What to do where it is known which lines take the time.
_KNOWN = (
    "Make these lines cheaper or rarer: compute on whole tensors instead of value by value or tensor by tensor "
    "(`torch._foreach_*`), do every N steps what need not be done in each, and let a loader's workers prepare data. "
    'What is not in them, `with hotlap.phase("..."):` tells apart.'
)


class Unexplained(Rule):
    code = "OTHER01"
    title = "A large part of the step is spent in code that no phase explains"
    meaning = (
        "Between the marks of a step something takes time: metrics, copies of weights (EMA), Python loops over "
        "tensors, reading values from the device, garbage collection."
    )
    evidence_needed = (
        "The mean `other` of the steady steps without the probe's own cost. Up to a fifth of the step, or 0.25 ms, is "
        "ordinary Python. Where it goes is sampled every millisecond in some steps: the innermost line of the script "
        "that runs while no phase does, and what it calls."
    )
    remedy = 'Name the suspects with `with hotlap.phase("..."):` and profile again.'
    limits = (
        "Lines are named from ten samples on, where the watched steps spend about what the usual ones do; else it says "
        "that time is missing, not where. Lines of Python of less than 5 ms may be taken for the next one that "
        "computes in C. A log or a trace that covers part of the step also ends here. Where a GPU is known to work "
        "nearly all the time, only the time in which it does not is at stake."
    )

    def check(self, context: Context) -> Finding | None:
        probe = context.facts.probe_seconds
        seconds = context.exposed("other") - context.growth("other") - (probe or 0.0)
        named = any(each.code == "HOST01" and each.seconds >= seconds for each in context.found)
        if seconds <= OTHER_SECONDS or named:
            return None
        evidence = [f"No phase explains {part(context, seconds)}."]
        lines = slow_lines(context, "other", seconds)
        evidence += lines
        # On a CPU a read takes what it takes, and is among the lines.
        reads = context.run.syncs.lines if context.run.syncs and (context.on_cuda or not lines) else []
        evidence += [f"Tensors are read: {where(line, context.run.info.cwd)}" for line in reads[:2] if line.count >= 1]
        if probe is not None:
            evidence.append(f"The probe's own {time(probe)} a step are not part of that.")
        return self.finding(context, seconds, evidence, least=OTHER_SHARE, remedy=_KNOWN if lines else None)


_SCATTER = "median absolute deviation"


class TooLittle(Rule):
    code = "MEASURE01"
    title = "Too few or too noisy steps to say more"
    meaning = "The steps that could be measured do not carry a diagnosis of small effects."
    evidence_needed = (
        "The number of steady steps, and their median absolute deviation (without the wait for data) over the median "
        "step; from the steps around each where steps are known to change over the run, because a trend is no noise. "
        "Steps that scatter more than 15 % are enough only when so many were measured that their mean is known to 3 %."
    )
    remedy = "Measure more steps, and on a machine without another load."
    limits = "Steps can also scatter because the samples differ in size; then more steps are the only remedy."
    information = True

    def check(self, context: Context) -> Finding | None:
        count = len(context.steps)
        noisy = context.spread > NOISY and context.uncertainty > LEAST_SHARE
        if count >= FEW_STEPS and not noisy:
            return None
        evidence = [f"{plural(count, 'steady step')} of {plural(len(context.run.steps), 'recorded step')}."]
        if count > 1:
            evidence.append(
                f"They scatter by {percent(context.spread)} "
                f"({'median deviation from the steps around each' if context.changes_over_run else _SCATTER}), "
                f"so the mean step is known to ± {percent(context.uncertainty)}."
            )
        load, cores = context.run.info.environment.load, context.run.info.environment.cores
        if noisy and load is not None and load > cores / 2:
            evidence.append(f"When the run began the machine had a load of {load:.1f} on {plural(cores, 'core')}.")
        return self.finding(context, 0.0, evidence)


class ComputeBound(Rule):
    code = "COMPUTE01"
    title = "The step is bound by the model's own arithmetic"
    meaning = "Forward and backward take most of the step, and nothing else stands out. This is how it should be."
    evidence_needed = (
        "The share of `forward`, `backward` and `recompute`, with no other finding. Where a GPU is known to work "
        "nearly all the time these are its own seconds, else the host's."
    )
    remedy = "Make the arithmetic itself cheaper: torch.compile, a lower precision or a smaller model."
    limits = (
        "The bound supposes arithmetic that takes no time, which no change comes near. Whether the device is used well "
        "inside forward and backward is not told by their time."
    )
    changes = ("compile", "precision", "layout")
    information = True
    describes = True

    def check(self, context: Context) -> Finding | None:
        seconds = context.compute
        if context.found or context.share(seconds) <= COMPUTE_SHARE:
            return None
        parts = {name: context.spent(name) for name in ("forward", "backward", "recompute")}
        ranked = sorted(((s, name) for name, s in parts.items() if s > 0), reverse=True)
        evidence = [
            f"Computing takes {part(context, seconds)}.",
            "Of the step: " + ", ".join(f"{name} {percent(context.share(s))}" for s, name in ranked) + ".",
        ]
        changes = self._open(context)
        ways = {"compile": "torch.compile", "precision": "a lower precision", "layout": "channels_last"}
        named = [*(ways[name] for name in changes), "a smaller model"]
        remedy = f"Make the arithmetic itself cheaper: {' or '.join(named)}."
        if context.facts.compiled is None or context.facts.parameter_dtype is None:
            remedy += " What of this is in use already is not known in full."
        return self.finding(context, seconds, evidence, remedy=remedy, changes=changes)

    def _open(self, context: Context) -> list[str]:
        """The changes that are not made yet and that calibration does not speak against."""
        changes = [] if context.facts.compiled else ["compile"]
        dtype = (context.facts.parameter_dtype or "float32").removeprefix("torch.")
        ratio = bf16_speedup(context)
        if context.facts.autocast is None and dtype == "float32" and (ratio is None or ratio > MACHINE_GAIN):
            changes.append("precision")
        if context.facts.convolutions and context.facts.channels_last is False:
            changes.append("layout")
        return changes


class Healthy(Rule):
    code = "HEALTHY01"
    title = "Nothing stands out"
    meaning = "No known cause has enough time at stake to be worth a change."
    evidence_needed = "Enough steady steps, and no other finding."
    remedy = "Nothing to do."
    limits = "It means that no rule of this catalogue fired, not that nothing could be faster."
    information = True
    describes = True

    def check(self, context: Context) -> Finding | None:
        if context.found:
            return None
        ranked = sorted(((seconds, name) for name, seconds in context.phases.items()), reverse=True)
        largest = ", ".join(f"{name} {percent(context.share(seconds))}" for seconds, name in ranked[:3])
        evidence = [
            f"{plural(len(context.steps), 'steady step')} of {time(context.step_seconds)}.",
            f"Largest parts: {largest}.",
        ]
        return self.finding(context, 0.0, evidence)
