"""What a log shows of the course of a training: throughput, losses, restarts."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from statistics import fmean, median

from hotlap.diagnose.rules.base import number, percent, plural, time
from hotlap.diagnose.rules.log_base import LogRule, mean_step
from hotlap.diagnose.thresholds import COURSE_LINES, NOT_FINITE, TREND_CHUNKS, TREND_GROWTH, TREND_ORDER
from hotlap.records import Finding, Reading, Series

#: Restarts that are listed.
_LISTED = 5


class FallingThroughput(LogRule):
    code = "LOG04"
    title = "Steps get slower over the run"
    meaning = (
        "Something grows with the steps: what is kept of each, a log that is written anew, a curriculum with larger "
        "inputs; or the machine gets slower (heat, other programs)."
    )
    evidence_needed = (
        "At least 20 printed step times or throughputs: medians of ten parts of the run rise in order (Kendall's tau "
        "of at least 0.8) by a fifth or more from the first to the last."
    )
    remedy = "See which part of the step grows: `hotlap profile -- python train.py` over some thousand steps."
    limits = "The log does not say whether inputs grew, which would be no fault."

    def check(self, reading: Reading) -> Finding | None:
        for name in ("step time", "throughput"):
            series = reading.series.get(name)
            parts = _parts(series) if series is not None else []
            if not parts or min(parts) <= 0:
                continue
            times = parts if name == "step time" else [1 / value for value in parts]
            pairs = list(combinations(times, 2))
            order = sum((b > a) - (b < a) for a, b in pairs) / len(pairs)
            grown = times[-1] / times[0] - 1
            if order >= TREND_ORDER and grown >= TREND_GROWTH:
                return self._found(reading, name, parts, fmean(times), times[0])
        return None

    def _found(self, reading: Reading, name: str, parts: list[float], mean: float, first: float) -> Finding | None:
        shown = time if name == "step time" else lambda rate: f"{number(rate)} samples/s"
        evidence = [
            f"The printed {name} went from {shown(parts[0])} in the first tenth of the run to {shown(parts[-1])} in "
            "the last (medians)."
        ]
        step = mean_step(reading)
        if not step:
            return self.note(evidence)
        return self.at_stake(reading, step * (1 - first / mean), evidence)


class LossNotFinite(LogRule):
    code = "LOG05"
    title = "The loss is not a finite number"
    meaning = (
        "A loss of NaN or infinity. A single one under mixed precision can be an overflow that the gradient scaler "
        "leaves out; from some step on to the end, the parameters are lost and nothing is learnt any more."
    )
    evidence_needed = "Printed losses that are NaN or infinite, or warnings of the training that it met one."
    remedy = (
        "Go back to the last checkpoint before it; begin gradient scaling with a lower scale, unscale before clipping, "
        "clip, or lower the learning rate; try bfloat16, or float32 for the part that overflows."
    )
    limits = "A log that prints every N steps misses those between."
    risk = True

    def check(self, reading: Reading) -> Finding | None:
        loss, warned = reading.series.get("loss"), reading.series.get("NaN warnings")
        evidence = []
        if loss is not None and loss.not_finite:
            evidence.append(
                f"{loss.not_finite:,} of {plural(loss.lines, 'printed loss').replace('losss', 'losses')} "
                f"{'is' if loss.not_finite == 1 else 'are'} not finite, the first at "
                f"{loss.counted} {loss.first_not_finite:,.0f}."
            )
        if warned is not None:
            evidence.append(
                f"The training warned of NaN or Inf {plural(warned.lines, 'time')}, first at step "
                f"{warned.step[0]:,.0f}."
            )
        if not evidence:
            return None
        lost = loss is not None and loss.not_finite_at_end >= NOT_FINITE
        if lost and loss is not None:
            evidence.append(f"None of the last {loss.not_finite_at_end:,} is finite.")
        return self.warning("nothing is learnt any more" if lost else "the training may diverge", evidence)


class Restarts(LogRule):
    code = "LOG09"
    title = "The training was started again"
    meaning = "Steps in the log go back: the training ended, and went on from an earlier checkpoint."
    evidence_needed = (
        "A printed step that is lower than the one before, and was not printed shortly before as another rank would; "
        "and what follows runs past where the steps had been, or ends before."
    )
    remedy = "Look for what ended it; save checkpoints as often as a repetition costs more than saving."
    limits = (
        "Fewer than two repeated lines look like another rank, and so does a restart that goes back just to where the "
        "log was at the restart before, by as many steps. Why the training ended is not read."
    )
    information = True

    def check(self, reading: Reading) -> Finding | None:
        if not reading.restarts:
            return None
        again = sum(max(0.0, each.before - each.after) for each in reading.restarts)
        named = ", ".join(f"{each.before:,.0f} -> {each.after:,.0f}" for each in reading.restarts[:_LISTED])
        evidence = [f"{plural(len(reading.restarts), 'restart')} ({named}): about {again:,.0f} steps were done twice."]
        last = reading.steps.value
        if last:
            evidence[0] = evidence[0][:-1] + f", {percent(again / (last + again))} of all."
        return self.note(evidence)


def _parts(series: Series) -> list[float]:
    """Medians of ten parts of the run; none where it is too short."""
    values = [value for value in series.value if math.isfinite(value)]
    if len(values) < COURSE_LINES:
        return []
    ends = [len(values) * at // TREND_CHUNKS for at in range(TREND_CHUNKS + 1)]
    return [median(values[a:b]) for a, b in pairwise(ends)]
