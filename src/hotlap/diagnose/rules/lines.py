"""Names the lines of the script in which a phase without marks of its own spends its time."""

from __future__ import annotations

from collections import defaultdict

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import percent, plural, time
from hotlap.diagnose.thresholds import LINE_SAMPLES, LINE_SHARE, SAMPLED_SHARE, SAMPLES
from hotlap.records import SampledLine

#: Lines that are named, and calls of each.
_NAMED, _CALLS = 3, 3


def slow_lines(context: Context, phase: str, seconds: float) -> list[str]:
    """Return a sentence for each line that has much of the ``seconds`` of a phase, the slowest first.

    None are returned where the watched steps do not show what the usual ones spend, or where the time is in many lines.
    """
    sampled = context.run.sampled
    seen = sampled.phases.get(phase) if sampled else None
    if sampled is None or seen is None or seen.samples < SAMPLES or seen.seconds < SAMPLED_SHARE * seconds:
        return []
    by_line: dict[tuple[str, int, str], list[SampledLine]] = defaultdict(list)
    for each in sampled.lines:
        if each.phase == phase:
            by_line[each.file, each.line, each.function].append(each)
    sentences = []
    for (file, number, function), parts in sorted(by_line.items(), key=lambda item: -sum(p.seconds for p in item[1])):
        share = sum(each.seconds for each in parts) / seen.seconds
        samples = sum(each.samples for each in parts)
        if share < LINE_SHARE or samples < LINE_SAMPLES:
            continue
        calls = [f"`{each.called}`" for each in parts if each.called][:_CALLS]
        what = f": {', '.join(calls)}" if calls else ""
        sentences.append(
            f"{_short(file, context.run.info.cwd)}:{number}, in {function}{what}, about {time(share * seconds)} of a "
            f"step ({percent(share)} of {plural(seen.samples, 'sample')})."
        )
    return sentences[:_NAMED]


def _short(file: str, cwd: str) -> str:
    """As a person looks for it: below the working directory, or in the folder of installed packages."""
    return file.rpartition("/site-packages/")[2].removeprefix(cwd.rstrip("/") + "/")
