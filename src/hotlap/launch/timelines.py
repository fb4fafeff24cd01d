"""One step of a run as it went: which phase it was in from when to when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hotlap.launch.marks import marked_step
from hotlap.records import Step, Timeline, TimelineSpan

_SECOND = 1e9


def typical(steps: Sequence[Step]) -> int | None:
    """Return the index of the step in the middle of the run's second half by wall time, None where there is none.

    One that was looked at from close by or held at a gate is no usual one.
    """
    usual = [step for step in steps[len(steps) // 2 :] if not step.looked and not step.paused]
    return sorted(usual, key=lambda step: step.wall)[len(usual) // 2].i if usual else None


def timeline_of(lines: Iterable[dict[str, Any]], wanted: int | None) -> Timeline | None:
    """``lines`` of ``steps.jsonl`` as they stand there (see ``decoding``), and the index of the ``wanted`` step."""
    step = None if wanted is None else marked_step(lines, wanted)
    if step is None:
        return None
    first, last = step.times[0], step.times[-1]
    spans = [
        TimelineSpan(phase=phase, start=(begin - first) / _SECOND, seconds=(end - begin) / _SECOND)
        for phase, begin, end in step.spans()
    ]
    return Timeline(step=step.i, seconds=(last - first) / _SECOND, spans=spans)
