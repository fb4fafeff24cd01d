"""Settings that are meant for debugging, or that nobody would choose."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, plural
from hotlap.records import Finding


class AnomalyDetection(Rule):
    code = "CONFIG01"
    title = "Anomaly detection is on"
    meaning = (
        "torch remembers the Python stack of every operation of the forward and searches every gradient for NaN. That "
        "finds the operation that made one; small models become several times slower."
    )
    evidence_needed = (
        "`torch.is_anomaly_enabled()` between steps, looked at now and then once the training is warm: always on. And "
        "the time of what it slows down."
    )
    remedy = "Switch it off (`torch.autograd.set_detect_anomaly(False)`), and on only while you look for a NaN."
    limits = (
        "The bound removes all of forward, loss and backward, because what anomaly detection takes of them is not told "
        "apart: of large operations it is little. Where it is on around backward alone it is not seen."
    )

    def check(self, context: Context) -> Finding | None:
        seconds = context.compute + context.seconds("loss")
        slowed = f"Forward, loss and backward, which it slows down, take {part(context, seconds)}."
        evidence = _always_on(context, context.facts.switches.anomaly, slowed)
        return self.finding(context, seconds, evidence) if evidence else None


class ProfilerOn(Rule):
    code = "CONFIG02"
    title = "torch's profiler records the whole training"
    meaning = (
        "A profiler without a schedule writes down every operator of every step, with `with_stack` its Python stack. "
        "Every operator becomes slower, and memory grows with the steps."
    )
    evidence_needed = (
        "Whether autograd's profiler is on between steps, looked at now and then once the training is warm: always on. "
        "And the time of what it slows down."
    )
    remedy = (
        "Profile a few steps (`schedule=torch.profiler.schedule(wait=..., warmup=..., active=3)`), and remove it from "
        "the training."
    )
    limits = (
        "The bound removes all of forward, loss, backward, clipping and the optimizer, because what the profiler takes "
        "of them is not told apart. Other profilers are not seen."
    )

    def check(self, context: Context) -> Finding | None:
        seconds = context.compute + context.seconds("loss", "gradient_clip", "optimizer")
        slowed = f"What it slows down takes {part(context, seconds)}."
        evidence = _always_on(context, context.facts.switches.profiler, slowed)
        return self.finding(context, seconds, evidence) if evidence else None


def _always_on(context: Context, times: int, slowed: str) -> list[str]:
    """The evidence against what was on ``times`` of the looks; none where that is not all of them."""
    looks = context.facts.switches.looks
    if not looks or times < looks:
        return []
    return [
        f"It was on in each of {plural(looks, 'look')}.",
        slowed,
        "How much of that it takes is not known from this record; `hotlap compare` with and without it measures that.",
    ]


class Debugging(Rule):
    code = "CONFIG03"
    title = "The training runs with settings that are meant for debugging"
    meaning = (
        "They make every kernel wait for the one before, switch off the memory cache, check every collective or trace "
        "every allocation. That helps to find an error, and costs time in every step."
    )
    evidence_needed = (
        "Variables of the environment with a value that switches something on: CUDA_LAUNCH_BLOCKING and "
        "PYTORCH_NO_CUDA_MEMORY_CACHING (on a GPU), TORCH_DISTRIBUTED_DEBUG (with several ranks), TORCH_LOGS, "
        "PYTHONDEVMODE, PYTHONMALLOC, PYTHONTRACEMALLOC. On a GPU also torch's deterministic algorithms."
    )
    remedy = "Unset them, unless you are looking for an error."
    limits = "What they cost is not in this record: `hotlap compare` with and without them measures it."
    risk = True

    def check(self, context: Context) -> Finding | None:
        facts, switches = context.facts, context.facts.switches
        found = [each for each in switches.environment if _matters(each, context)]
        if switches.deterministic and context.on_cuda:
            found.append("torch.use_deterministic_algorithms(True)")
        if not found:
            return None
        remedy = self.remedy
        if switches.deterministic and context.on_cuda:
            remedy += " Deterministic algorithms are the price of runs that agree to the last bit: a choice."
        return self.finding(
            context, 0.0, [f"Set, on {facts.device or 'the device'}: {', '.join(found)}."], remedy=remedy
        )


def _matters(variable: str, context: Context) -> bool:
    if variable.startswith(("CUDA_", "PYTORCH_NO_CUDA")):
        return context.on_cuda
    return not variable.startswith("TORCH_DISTRIBUTED") or context.facts.world_size > 1


class GradedValidation(Rule):
    code = "CONFIG04"
    title = "Validation runs with gradients"
    meaning = (
        "The model is in eval mode, and autograd records every operation all the same. Activations are kept for a "
        "backward that never comes: that takes memory, and some time."
    )
    evidence_needed = (
        "Time in `validation`, and calls of a module in eval mode with gradients before anything of a step; the module "
        "is one that was trained in train mode before."
    )
    remedy = "Evaluate under `with torch.inference_mode():`, or `torch.no_grad()` where its results are trained on."
    limits = "What it costs is not in this record; more is at stake in memory than in time."
    risk = True

    def check(self, context: Context) -> Finding | None:
        calls = context.facts.switches.graded_evaluations
        seconds = context.seconds("validation")
        if not calls or not seconds:
            return None
        evidence = [
            f"{plural(calls, 'call')} of a trained module in eval mode with gradients.",
            f"Validation takes {part(context, seconds)} for each step.",
        ]
        return self.finding(context, 0.0, evidence)
