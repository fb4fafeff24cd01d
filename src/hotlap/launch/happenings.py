"""Lines about what happened in the process around its steps, made into records that know their step."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import msgspec

from hotlap.records import Compilation, LoaderStart, Startup, Step

Line = dict[str, Any]


def startup_of(lines: list[Line]) -> Startup | None:
    for line in lines:
        if line["k"] == "start" and "imported" in line:
            return msgspec.convert({"began": line["t"], "imported": line["imported"]}, Startup)
    return None


def compilations_of(lines: list[Line], steps: list[Step]) -> list[Compilation]:
    placed = _placed(_newest(lines, "compile"), steps)
    return [msgspec.convert(line, Compilation) for line in placed]


def loader_starts_of(lines: list[Line], steps: list[Step]) -> list[LoaderStart]:
    placed = _placed(_newest(lines, "loader_start"), steps)
    # What a loader was for shows in what follows, so it is said at the end.
    validating = {name for line in lines if line["k"] == "validation_loaders" for name in line["names"]}
    return [msgspec.convert({**line, "validation": line.get("loader") in validating}, LoaderStart) for line in placed]


def _newest(lines: list[Line], kind: str) -> list[Line]:
    """The last line with each number: what is known only later is said again."""
    return list({line.get("n", i): line for i, line in enumerate(lines) if line["k"] == kind}.values())


def _placed(lines: list[Line], steps: list[Step]) -> list[Line]:
    """Say in which step each happened. The line may come before that of its step."""
    starts = [step.t for step in steps]
    placed = []
    for line in lines:
        # A tick of the clock: the start of a step is the very moment at which its loader was asked.
        at = bisect_right(starts, line["t"] + 1e-6) - 1
        inside = at >= 0 and line["t"] < steps[at].t + steps[at].wall + steps[at].paused
        placed.append({**line, "step": steps[at].i if inside else None})
    return placed
