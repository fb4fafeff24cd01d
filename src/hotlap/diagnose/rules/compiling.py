"""``torch.compile`` at work: compiling again and again, or more than this run gets back."""

from __future__ import annotations

from collections import Counter, defaultdict

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, plural, time
from hotlap.diagnose.steady import core
from hotlap.diagnose.thresholds import (
    COMPILE_SECONDS,
    COMPILED_AT_MOST,
    COMPILED_USUALLY,
    RECOMPILATIONS,
)
from hotlap.records import Compilation, Finding

_UNNAMED = "a function that torch does not name"


class Recompiling(Rule):
    code = "COMPILE01"
    title = "Code is compiled again and again while the training runs"
    meaning = (
        "Compiled code holds for what it was compiled for: shapes, numbers, flags, lengths of lists. When one of them "
        "changes, `torch.compile` compiles anew, and the step waits for it."
    )
    evidence_needed = (
        "At least two recompilations of a function after the warm-up, the last of them in the second half of the "
        "steady steps, as dynamo's own callbacks tell them, with their seconds and its reason for the last one."
    )
    remedy = (
        "Make what changes a tensor, or constant. `TORCH_LOGS=recompiles` lists every reason, and `torch.compiler."
        "set_stance('fail_on_recompile')` finds the place."
    )
    limits = (
        "After a number of compilations of one function (`recompile_limit`, 8 by default) torch gives up and runs it "
        "uncompiled: the recompilations end then, in a longer run too, and the step stays slow. What that costs is not "
        "in the seconds at stake."
    )

    def check(self, context: Context) -> Finding | None:
        # Those that were looked at, too: no look makes anything compile again.
        steady = context.run.steps[context.steady_from :]
        if not steady:
            return None
        numbers = {step.i for step in steady}
        again = [each for each in context.run.compilations if each.step in numbers and (each.reason or each.backward)]
        because = [each for each in again if each.reason]
        half = steady[len(steady) // 2].i
        most = max(Counter(each.what or _UNNAMED for each in because).values(), default=0)
        if most < RECOMPILATIONS or (because[-1].step or 0) < half:
            return None
        seconds = sum(each.seconds for each in again) / len(steady)
        by_function: defaultdict[str, list[Compilation]] = defaultdict(list)
        for each in because:
            by_function[each.what or _UNNAMED].append(each)
        evidence = [
            f"{plural(len(because), 'recompilation')} in {len(steady)} steady steps, {time(seconds)} a step on average."
        ]
        for what, times in sorted(by_function.items(), key=lambda item: -sum(each.seconds for each in item[1])):
            evidence.append(
                f"{what}: {plural(len(times), 'time')}, {time(sum(each.seconds for each in times))}, the last in step "
                f"{times[-1].step} because of: {_short(times[-1].reason)}."
            )
            evidence += _given_up(context, what)
        evidence += _graph_breaks(context)
        # Steps that compiled are not in the mean, unless there are no others.
        inside = sum(context.compiled.get(step.i, 0.0) for step in context.steps) / len(context.steps)
        whole = context.mean + max(0.0, seconds - inside)
        return self.finding(context, seconds, evidence, whole=whole, remedy=_remedy(self.remedy, because))


def _given_up(context: Context, what: str) -> list[str]:
    limit = context.facts.recompile_limit
    times = sum(each.what == what and not each.backward for each in context.run.compilations)
    if limit is None or times < limit or what == _UNNAMED:
        return []
    return [f"It was compiled {times} times: at its limit of {limit} torch runs it uncompiled from then on."]


def _graph_breaks(context: Context) -> list[str]:
    count = context.facts.graph_breaks
    return [f"Compiled code falls back to the interpreter at {plural(count, 'graph break')}."] if count else []


def _short(reason: str | None) -> str:
    """Without the source that dynamo quotes."""
    return (reason or "").partition("  # ")[0].strip().rstrip(".")


def _remedy(general: str, again: list[Compilation]) -> str:
    reasons = " ".join(each.reason or "" for each in again)
    if "size mismatch" in reasons or ".size()" in reasons or "stride mismatch" in reasons:
        return (
            "Shapes change: compile with `dynamic=True` or mark the dimension (`torch._dynamo.mark_dynamic`), or give "
            "the model few shapes: pad or sort samples into buckets, and drop the last, smaller batch (`drop_last`)."
        )
    if "grad_mode" in reasons or ".training" in reasons:
        return (
            "The same function runs with and without gradients, or in train and eval mode: compile one for the "
            "training and another for the validation."
        )
    if "len(" in reasons:
        return "A list or dict grows that the compiled code reads: keep it outside, or give it a fixed length."
    if "==" in reasons:
        return "A Python number or flag changes: pass it as a tensor, or keep it out of the compiled code. " + general
    return general


class CompileNotPaidBack(Rule):
    code = "COMPILE02"
    title = "Compiling took longer than this run can give back"
    meaning = "`torch.compile` pays by the step and costs once; a run must be long enough for it."
    evidence_needed = (
        "At least a second of compilation, and so few steps that compiled ones would have to be more than twice as "
        "fast as uncompiled ones to make up for it."
    )
    remedy = (
        "For a long training nothing is wrong. For short runs leave it out, keep its cache between runs "
        "(`TORCHINDUCTOR_CACHE_DIR`), or compile one repeated block instead of the whole model."
    )
    limits = (
        "How fast the uncompiled step is was not measured here: `hotlap compare` does. The break-even supposes a step "
        "that compiling makes 1.3 times as fast."
    )
    information = True

    def check(self, context: Context) -> Finding | None:
        spent = sum(each.seconds for each in context.run.compilations)
        steps, step = len(context.run.steps), context.step_seconds
        training = sum(core(each) for each in context.steps) / len(context.steps) * steps
        if spent < COMPILE_SECONDS or step <= 0 or spent <= (COMPILED_AT_MOST - 1) * training:
            return None
        evidence = [
            f"{plural(len(context.run.compilations), 'compilation')} took {time(spent)}; the {plural(steps, 'step')} "
            f"of this run take {time(training)} without them.",
            f"If a compiled step is {COMPILED_USUALLY:g} times as fast, it pays from about "
            f"{spent / ((COMPILED_USUALLY - 1) * step):,.0f} steps on.",
        ]
        evidence += _graph_breaks(context)
        return self.finding(context, 0.0, evidence)
