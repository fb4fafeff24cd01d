"""What must be known of the measurement itself."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part
from hotlap.diagnose.thresholds import PROBE_SHARE
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
