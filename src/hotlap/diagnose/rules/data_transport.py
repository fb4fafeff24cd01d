"""The step waits for batches that are made: for their way from the worker, or for their turn."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.fetching import most_workers
from hotlap.diagnose.rules.base import Rule, part, percent, size, time
from hotlap.diagnose.rules.data import behind_another, fetching, settings, with_workers
from hotlap.diagnose.thresholds import HEAD_OF_LINE, LARGE_BATCH, SLOWEST_WAY
from hotlap.diagnose.waits import saved_by_any_order, saved_on_the_way, wait, way
from hotlap.records import Finding


class LargeBatches(Rule):
    code = "DATA06"
    title = "The step waits for the bytes of its batch: the way from the workers takes longer than the samples"
    meaning = (
        "Workers have their samples quickly, but a batch is large, and torch makes new shared memory for each tensor "
        "of each batch: the kernel finds and clears its pages, the worker fills them, the training maps them and "
        "throws them away. Arrays and lists are pickled and go through a pipe."
    )
    evidence_needed = (
        f"A loader with workers whose batches have over {size(LARGE_BATCH)}. The seconds to put a batch together "
        "(where torch's own function does, it writes into the shared memory), to send it and to receive it are more "
        "than those of its samples, explain at least half of the mean `data_wait`, and move at least "
        f"{size(SLOWEST_WAY)} a second."
    )
    remedy = (
        "Let workers write into memory that stays: `hotlap.data.SharedBatches` in place of `DataLoader`. And send "
        "less: smaller numbers (`uint8`, made to floating point on the device), crops instead of whole samples, "
        "tensors instead of arrays and lists."
    )
    limits = (
        "What the training pays when it first reads the new pages is in its forward, or in the copy to the device, and "
        "not at stake here. `SharedBatches` needs torch's own collate function, and it copies each sample once, too. "
        "With pinned memory another thread receives: then only what takes longer than the rest of the step counts."
    )
    changes = ("workers",)

    def check(self, context: Context) -> Finding | None:
        facts, at_stake, moved = context.facts, saved_on_the_way(context), way(context)
        if at_stake is None or moved is None or facts.sent_bytes is None:
            return None
        parts = [("sending", facts.send_seconds), ("receiving", facts.receive_seconds)]
        if facts.dataset.stacked:
            parts.insert(0, ("collating", facts.fetch_collate_seconds))
        said = ", ".join(f"{name} {time(seconds)}" for name, seconds in parts if seconds is not None)
        evidence = with_workers(context)
        evidence.insert(1, f"A batch of {size(facts.sent_bytes)} takes {time(moved)} on its way: {said}.")
        evidence.insert(2, f"That is {size(facts.sent_bytes / moved)} a second.")
        remedy, changes = self.remedy, []
        if facts.dataset.stacked is False:
            remedy += " The loader's own `collate_fn` should make tensors, which are not pickled."
        fetch = (facts.fetch_seconds or 0.0) * context.micro_batches
        if fetch < wait(context):
            remedy += f" Or fetch in the loop (`num_workers=0`): that would take about {time(fetch)} a step."
            changes = ["workers"]
        elif (facts.workers or 0) < (most := most_workers(facts, context.cores)):
            remedy += f" Or share the work among more workers, up to {most}."
            changes = ["workers"]
        return self.finding(context, at_stake, evidence, remedy=remedy, changes=changes)


class HeadOfLine(Rule):
    code = "DATA07"
    title = "The step waits for one batch while later ones are ready"
    meaning = (
        "Batches are handed out in the order in which they were asked for. One that takes long holds up those that "
        "other workers have finished after it, and these workers run out of tasks meanwhile."
    )
    evidence_needed = (
        "The time that the training waits for its workers, and whether a later batch had come already: for at least "
        f"{percent(HEAD_OF_LINE)} of it, with workers that are fast enough together by their mean fetch time."
    )
    remedy = (
        "Even out what samples take: find the slow ones, store them smaller or decoded, and do not group long samples "
        "in one batch. Work further ahead (`prefetch_factor`), so that a slow batch is begun earlier. Where the order "
        "of the samples need not be the same in every run, take batches as they come (`in_order=False`, torch 2.6)."
    )
    limits = (
        "The share is that of all waits but those at the start of an epoch, rare long ones too; the seconds are those "
        "of steady steps. Which samples are slow is not known."
    )
    changes = ("prefetch", "any_order")

    def check(self, context: Context) -> Finding | None:
        at_stake = saved_by_any_order(context)
        if at_stake is None or saved_on_the_way(context) is not None:
            return None
        evidence = [
            f"The step waits {part(context, wait(context))} for its next batch.",
            *behind_another(context),
            f"Already set: {settings(context)}.",
            *fetching(context),
        ]
        return self.finding(context, at_stake, evidence)
