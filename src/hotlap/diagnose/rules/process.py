"""The process around the steps: its start, the starts of its loaders, steps that change over the run."""

from __future__ import annotations

from statistics import fmean

from hotlap.diagnose.budget import budget
from hotlap.diagnose.context import Context
from hotlap.diagnose.happenings import training_starts
from hotlap.diagnose.rules.base import Rule, percent, plural, time
from hotlap.diagnose.rules.inputs import called
from hotlap.diagnose.thresholds import LOOP_SHARE, START_SECONDS, START_SHARE
from hotlap.diagnose.trend import Shift, Trend
from hotlap.records import Finding


class SlowStart(Rule):
    code = "LOOP04"
    title = "Starting takes most of this run"
    meaning = "Until its first step the process imports, reads, builds and copies, and trains nothing."
    evidence_needed = (
        "At least 15 s and half of the wall clock before the first step, without compilation and loader starts: until "
        "torch was imported, and from there on."
    )
    remedy = (
        "For a long training this is nothing. Where many short ones are started: build the index of the data set once "
        "and keep it, load weights with `mmap=True`, and import late what is seldom used (`python -X importtime`)."
    )
    limits = (
        "The start is the same for a run of any length, so its share says nothing about a longer one. Other imports "
        "than those before torch count as building."
    )
    information = True

    def check(self, context: Context) -> Finding | None:
        whole = budget(context.run)
        start = whole.startup + whole.building
        if start < START_SECONDS or start < START_SHARE * whole.wall:
            return None
        evidence = [f"The first step began after {time(start)} of {time(whole.wall)} ({percent(start / whole.wall)})."]
        if context.run.startup is not None:
            evidence.append(
                f"Until torch was imported it took {time(whole.startup)}, and {time(whole.building)} from there on."
            )
        return self.finding(context, 0.0, evidence)


class LoaderStarts(Rule):
    code = "LOOP05"
    title = "Each epoch waits for its loader to start"
    meaning = (
        "When an epoch begins, `DataLoader.__iter__` draws the order of the samples, starts its workers (which import "
        "and copy the data set) unless they persist, and the first batch is made while nothing computes."
    )
    evidence_needed = (
        "At least two starts of a training loader in the steady steps: the seconds inside `DataLoader.__iter__` and of "
        "the wait for the first batch, beyond the usual wait for a batch, spread over all steady steps."
    )
    remedy = "Keep the workers alive from epoch to epoch (`persistent_workers=True`)."
    limits = (
        "The bound takes the whole start to be avoidable; workers that stay alive still make the first batch of an "
        "epoch while the loop waits. Persistent workers change the random numbers of later epochs, so the losses have "
        "to be compared. Epochs that are cut short (`break`) give the starts a larger share than a full run has."
    )
    changes = ("persistent_workers",)

    def check(self, context: Context) -> Finding | None:
        steady = [step for step in context.run.steps[context.steady_from :] if not step.looked]
        began = {step.i for step in steady} & context.starts.keys()
        starts = [each for each in training_starts(context.run) if each.step in began]
        if len(began) < 2:
            return None
        seconds = sum(context.starts[i] for i in began) / len(steady)
        inside = fmean(each.seconds for each in starts)
        first = [each.first_batch for each in starts if each.first_batch is not None]
        fresh = any(each.fresh for each in starts)
        evidence = [
            f"The loader started {len(starts)} times in {len(steady)} steps, which cost {time(seconds)} a step on "
            "average beyond the usual wait.",
            f"A start takes {time(inside)} in `DataLoader.__iter__`"
            + (f" and {time(fmean(first))} until the first batch is there." if first else "."),
        ]
        workers = max(each.workers for each in starts)
        evidence.append(f"Already set: num_workers={workers}, persistent_workers={context.facts.persistent_workers}.")
        remedy, changes = self.remedy, list(self.changes)
        if not workers:
            remedy, changes = "Draw the order of the samples faster: a sampler with an array instead of a list.", []
        elif not fresh:
            changes = []
            remedy = (
                "The workers persist already. Make epochs longer (a sampler that repeats), or the first batch cheaper."
            )
        # What the mean step holds of it already must not be added again.
        whole = context.mean + max(0.0, seconds - context.start_wait)
        return self.finding(context, seconds, evidence, least=LOOP_SHARE, whole=whole, remedy=remedy, changes=changes)


_GROWS = {
    "data_wait": "Fetching gets slower: look for what the data set keeps (lists, open files), and whether memory for "
    "the file cache runs out.",
    "forward": "Look for inputs or buffers that grow with each call, and caches inside the model.",
    "loss": "Look for a history that the loss goes over again (lists of outputs, a memory bank).",
    "backward": "Look for a graph that is kept from step to step: detach hidden states, and sum `loss.item()` or "
    "`loss.detach()` instead of `loss`.",
    "optimizer": "Look for parameters that are added again and again, and state that grows.",
    "logging": "Append to the log instead of writing all of it again.",
}


class SlowerAndSlower(Rule):
    code = "LOOP06"
    title = "The steps get slower over the run"
    meaning = "Something grows with every step, and a phase takes longer for it: a list, a log, a graph, a cache."
    evidence_needed = (
        "Medians of at least ten chunks of steady steps, in rising order (Kendall's tau of 0.8), by at least a fifth "
        "over the run (line of Theil and Sen), with one phase that makes up most of it and grows twice as much as the "
        "others for its size."
    )
    remedy = "Find what grows: a list that is gone over again, a history that is concatenated, a log that is rewritten."
    limits = (
        "The bound is of this run: what the steps took beyond the first of them. A longer run loses more. A machine "
        "that gets slower slows every phase down alike and is not reported; nor are steps whose samples differ, or "
        "whose inputs grow so that they may be the reason."
    )

    def check(self, context: Context) -> Finding | None:
        found = context.trend
        if not isinstance(found, Trend) or context.goes_with_inputs(found.phase):
            return None
        then = found.last + (found.last - found.first)
        evidence = [
            f"A step took {time(found.first)} at first and {time(found.last)} {plural(found.steps, 'step')} later: "
            f"{time(found.slope * 1000)} more for every 1000 steps.",
            f"`{found.phase}` grew from {time(found.phase_first)} to {time(found.phase_last)}, "
            f"{percent(min(1.0, found.share))} of it.",
            f"At this rate a step takes {time(then)} after as many steps again.",
        ]
        if context.inputs is not None:
            evidence.append(f"{called(context.inputs)} That is too little to be the reason.")
        seconds = max(0.0, found.mean - found.first)
        return self.finding(context, seconds, evidence, remedy=_GROWS.get(found.phase, self.remedy))


class AnotherPace(Rule):
    code = "LOOP07"
    title = "From one step on, the steps take another time"
    meaning = (
        "The training changes at a step: other shapes, a part that is frozen or freed, another stage of a schedule."
    )
    evidence_needed = (
        "Medians of at least ten chunks of steady steps on two levels that differ by a fifth, with one phase that "
        "makes up most of the difference."
    )
    remedy = "Nothing to do where it is meant; else look for what the script does at that step."
    limits = "Means over the run mix the two. Changes of the number of samples are not looked at."
    information = True

    def check(self, context: Context) -> Finding | None:
        found = context.trend
        if not isinstance(found, Shift):
            return None
        evidence = [
            f"Until step {found.step} a step took {time(found.before)}, from there on {time(found.after)}.",
            f"`{found.phase}` went from {time(found.phase_before)} to {time(found.phase_after)}.",
        ]
        return self.finding(context, 0.0, evidence)
