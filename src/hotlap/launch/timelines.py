"""One step of a run as it went: which phase it was in from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hotlap.records import Step, Timeline, TimelineSpan

_SECOND = 1e9


def typical(steps: Sequence[Step]) -> int | None:
    """Return the index of the step in the middle of the run's second half by wall time, None where there is none.

    One that was looked at from close by or held at a gate is no usual one.
    """
    usual = [step for step in steps[len(steps) // 2 :] if not step.looked and not step.paused]
    return sorted(usual, key=lambda step: step.wall)[len(usual) // 2].i if usual else None


def timeline_of(lines: Sequence[dict[str, Any]], wanted: int | None) -> Timeline | None:
    """``lines`` of ``steps.jsonl`` as they stand there (see ``decoding``), and the index of the ``wanted`` step."""
    if wanted is None:
        return None
    plans: dict[int, dict[str, Any]] = {}
    for line in lines:
        if line["k"] == "plan":
            plans[line["id"]] = line
        elif line["k"] == "steps" and line["plan"] in plans:
            number = wanted - line["i"]
            if 0 <= number < len(line["losses"]):
                return _timeline(wanted, line["times"], plans[line["plan"]], number)
    return None


def _timeline(step: int, times: Sequence[int], plan: dict[str, Any], number: int) -> Timeline:
    slots: list[int] = plan["slots"]
    moments = times[number * len(slots) : (number + 1) * len(slots) + 1]
    spans: list[TimelineSpan] = []
    for slot, (begin, end) in zip(slots, pairwise(moments), strict=True):
        phase, start, seconds = plan["phases"][slot], (begin - moments[0]) / _SECOND, (end - begin) / _SECOND
        if spans and spans[-1].phase == phase:
            before = spans.pop()
            start, seconds = before.start, before.seconds + seconds
        spans.append(TimelineSpan(phase=phase, start=start, seconds=seconds))
    return Timeline(step=step, seconds=(moments[-1] - moments[0]) / _SECOND, spans=spans)
