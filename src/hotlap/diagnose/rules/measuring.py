"""What must be known of the measurement itself."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, plural
from hotlap.diagnose.thresholds import PREEMPTED_PER_SECOND, PROBE_SHARE
from hotlap.records import Finding


class CostlyProbe(Rule):
    code = "MEASURE02"
    title = "Measuring itself takes a noticeable part of the step"
    meaning = "The steps are so short, or go through so many modules, that hotlap's own code is seen in them."
    evidence_needed = "What the probe's own code took of a step, measured around it, above 1 % of the mean step."
    remedy = "Nothing has to be done: without hotlap the steps are shorter by as much, and no finding counts it."
    limits = "What the probe's code costs beside its own time (the processor's caches) is not part of it."
    information = True

    def check(self, context: Context) -> Finding | None:
        seconds = context.facts.probe_seconds
        if seconds is None or context.share(seconds) <= PROBE_SHARE:
            return None
        return self.finding(context, seconds, [f"The probe takes {part(context, seconds)}."])


class BusyMachine(Rule):
    code = "MEASURE03"
    title = "Something else used the processor while this was measured"
    meaning = (
        "The training was interrupted again and again by other processes, its own loader's workers included. Its "
        "phases contain their time, and its figures depend on them."
    )
    evidence_needed = (
        "Involuntary context switches of the training process in a step (getrusage), more than 50 in a second; the "
        "load when the run began."
    )
    remedy = "Measure again while nothing else runs; with loader workers, leave them cores of their own."
    limits = "Who took the processor is not known. Clocks that throttle are not seen."
    information = True

    def check(self, context: Context) -> Finding | None:
        times, environment = context.facts.switches.preempted, context.run.info.environment
        if times is None or context.mean <= 0 or times / context.mean <= PREEMPTED_PER_SECOND:
            return None
        evidence = [
            f"The processor was taken away {times / context.mean:,.0f} times a second, {times:.1f} times in a step.",
        ]
        if environment.load is not None:
            evidence.append(
                f"When the run began the load was {environment.load:.1f} on {plural(environment.cores, 'core')}."
            )
        if context.facts.workers:
            evidence.append(
                f"The loader has {plural(context.facts.workers, 'worker')}, which compute on the same cores."
            )
        return self.finding(context, 0.0, evidence)
