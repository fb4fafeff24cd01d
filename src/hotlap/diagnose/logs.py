"""From what a training printed to named causes, and to what will not help. Pure functions, as for a run.

A log has no phases, so its rules are others than those of a run; findings, bounds and the catalogue are the same.
"""

from __future__ import annotations

from hotlap.diagnose.rules import log_catalogue, rule
from hotlap.diagnose.rules.base import bound, percent, time
from hotlap.diagnose.rules.log_base import mean_step
from hotlap.diagnose.thresholds import WORTH_TRYING
from hotlap.records import Finding, LogDiagnosis, Reading, WillNotHelp

#: Stages that are named as not worth an effort.
_STAGES = 4


def diagnose_log(reading: Reading) -> LogDiagnosis:
    """Name what the log shows: first what costs time, then risks, then how its figures are to be read."""
    found = [finding for each in log_catalogue() if (finding := each.check(reading)) is not None]
    return LogDiagnosis(findings=sorted(found, key=_rank), will_not_help=[*_data(reading), *_spans(reading)])


def _rank(finding: Finding) -> tuple[bool, bool, float]:
    it = rule(finding.code)
    return it.information or (finding.seconds <= 0 and finding.risk is None), it.risk, -finding.seconds


def _data(reading: Reading) -> list[WillNotHelp]:
    seconds, step = reading.data_seconds, mean_step(reading)
    if seconds.value is None or not step or reading.data_time not in ("wait", "copies"):
        return []
    most = bound((seconds.high or seconds.value) / step)
    if most >= WORTH_TRYING:
        return []
    part = f"{time(seconds.value)} of {time(step)}"
    if reading.data_time == "copies":
        reason = f"By the host's clock the copies take {part}."
        return [WillNotHelp(remedy="pinned memory or non-blocking copies", bound=most, reason=reason)]
    reason = f"The data time, which holds the wait for the loader, is {part}."
    return [WillNotHelp(remedy="more workers, faster storage or a bigger cache", bound=most, reason=reason)]


def _spans(reading: Reading) -> list[WillNotHelp]:
    """Stages so small that nothing done to them could pay, of what was timed."""
    timing = reading.timing
    if timing is None:
        return []
    spans = timing.roots[0].children if timing.parent is not None else timing.roots
    items = []
    for span in sorted(spans, key=lambda each: -each.seconds):
        most = bound(span.seconds / timing.seen)
        if most < WORTH_TRYING:
            reason = (
                f"It takes {time(span.seconds)} of the {time(timing.seen)} that were timed "
                f"({percent(span.seconds / timing.seen)}); its part of backward is not in the log."
            )
            items.append(WillNotHelp(remedy=f"a faster {span.name}", bound=most, reason=reason))
    return items[:_STAGES]
