"""Time between the steps. Shares are of the mean step with its part of the time between."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, plural, time
from hotlap.diagnose.thresholds import LOOP_SHARE, SAMPLING_SHARE
from hotlap.records import Finding


class _Between(Rule):
    phase: str
    verb: str
    #: Whether what is done in it is the host's work alone.
    by_host = True

    def check(self, context: Context) -> Finding | None:
        seconds = context.exposed(self.phase) if self.by_host else context.seconds(self.phase)
        seconds -= context.growth(self.phase)
        steps = context.run.steps[context.steady_from :]
        times = [step.phases[self.phase] for step in steps if step.phases.get(self.phase, 0.0) > 0]
        if not times:
            return None
        evidence = [
            f"{self.verb} takes {part(context, seconds)} for each step, on average over {plural(len(steps), 'step')}.",
            f"It happened in {len(times)} of them and took {time(sum(times) / len(times))} each time.",
        ]
        if len(times) == 1:
            evidence.append("It happened once, so its share depends on the length of this run.")
        return self.finding(context, seconds, evidence, least=LOOP_SHARE)


class Validation(_Between):
    code = "LOOP01"
    title = "Validation takes a noticeable part of the training's time"
    meaning = "The training stops for an evaluation, often or for long."
    evidence_needed = "The share of `validation` in all steady steps, how often it runs and how long it takes."
    remedy = (
        "Validate less often or on fewer samples, without gradients (`torch.inference_mode`), with a larger batch and "
        "the same precision as the training."
    )
    limits = (
        "A short run with one evaluation gives it too large a share: compare how often it runs here with the real run. "
        "How much validation a training needs is for its owner to say."
    )
    phase = "validation"
    by_host = False
    verb = "Validation"


class CheckpointWriting(_Between):
    code = "LOOP02"
    title = "Writing checkpoints takes a noticeable part of the training's time"
    meaning = "The training stops while its state is serialised and written to storage."
    evidence_needed = "The share of `checkpoint` in all steady steps, how often it is written and how long that takes."
    remedy = "Write checkpoints less often or in the background, to faster storage, or only the newest and the best."
    limits = (
        "A short run with one checkpoint gives it too large a share: compare how often it is written in the real run."
    )
    phase = "checkpoint"
    verb = "Writing checkpoints"


class Logging(_Between):
    code = "LOOP03"
    title = "Logging takes a noticeable part of the training's time"
    meaning = (
        "Printing, progress bars, trackers or pictures stop the loop. On a GPU, reading a value for the log also waits "
        "for the device."
    )
    evidence_needed = "The share of `logging` in all steady steps, how often it happens and how long it takes."
    remedy = "Log every N steps, keep values on the device until then, and refresh progress bars seldom."
    limits = "Only logging that the probe recognises or that is marked as such is counted; the rest is in `other`."
    changes = ("log_every",)
    phase = "logging"
    verb = "Logging"


class Sampling(Rule):
    code = "LOOP08"
    title = "Calling the model without gradients to make data takes a large part of the step"
    meaning = (
        "In each step the model is called in training mode without gradients, on no batch of a loader: it plays, or "
        "it generates what it trains on."
    )
    evidence_needed = "The mean `sampling` of the steady steps: those calls, without what the script does between them."
    remedy = (
        "Call it for many at once (several environments, or a batch of sequences); keep what was made for several "
        "updates where the method allows it; compile the call. `torch.inference_mode()` costs less than `no_grad()`."
    )
    limits = (
        "The bound leaves the calls out altogether. What the script does between them (an environment, choosing a "
        "token) is `other`. A model in eval mode that is called without gradients counts as validation."
    )

    def check(self, context: Context) -> Finding | None:
        seconds = context.spent("sampling")
        if seconds <= 0:
            return None
        evidence = [f"Calls without gradients take {part(context, seconds)}."]
        return self.finding(context, seconds, evidence, least=SAMPLING_SHARE)
