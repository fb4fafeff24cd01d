"""The steps of a record as they went, mark by mark, read one line of the file at a time.

times    t0 ────── t1 ────── t2 ── t3      nanoseconds of the machine's monotonic clock
phases      data_wait  forward  loss       ``paused`` while a controller held the step back
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from hotlap.errors import RunError
from hotlap.launch.following import records


class MarkedStep(NamedTuple):
    i: int
    #: One more than there are phases: the last is the step's end.
    times: Sequence[int]
    phases: Sequence[str]
    micro_batches: int
    samples: int | None
    loss: float | None
    looked: bool

    def spans(self) -> list[tuple[str, int, int]]:
        """Each phase with the time of its beginning and of its end; neighbours of one phase are one span."""
        found: list[tuple[str, int, int]] = []
        for phase, (begin, end) in zip(self.phases, pairwise(self.times), strict=True):
            if found and found[-1][0] == phase:
                begin = found.pop()[1]
            found.append((phase, begin, end))
        return found


def marked_steps(path: Path) -> Iterator[MarkedStep]:
    """Yield the steps of ``steps.jsonl`` in order; a last line that was cut off is left out.

    Raises:
        RunError: it cannot be read, or holds what no probe writes.
    """
    try:
        with path.open("rb") as file:
            lines = (record for line in file if line.endswith(b"\n") for record in records([line], path))
            for line, plan in _planned(lines):
                yield from (_step(line, plan, number) for number in range(len(line["losses"])))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{path} holds a line that no probe of this hotlap writes ({error!r})") from error


def marked_step(lines: Iterable[dict[str, Any]], i: int) -> MarkedStep | None:
    """The step with this index in lines of ``steps.jsonl`` as they stand there, None where it is not."""
    for line, plan in _planned(lines):
        if 0 <= i - line["i"] < len(line["losses"]):
            return _step(line, plan, i - line["i"])
    return None


def _planned(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The lines of steps, each with its plan; those of a record that lost its beginning have none."""
    plans: dict[int, dict[str, Any]] = {}
    for line in lines:
        if line["k"] == "plan":
            plans[line["id"]] = line
        elif line["k"] == "steps" and line["plan"] in plans:
            yield line, plans[line["plan"]]


def _step(line: dict[str, Any], plan: dict[str, Any], number: int) -> MarkedStep:
    phases = [plan["phases"][slot] for slot in plan["slots"]]
    first, i = number * len(phases), line["i"] + number
    times = line["times"][first : first + len(phases) + 1]
    if len(times) <= len(phases):
        raise ValueError(f"step {i} has {len(times)} marks for {len(phases)} phases")
    loss = line["losses"][number]
    lost = None if loss is None else float(loss)
    looked = i in line.get("looked", ())
    return MarkedStep(i, times, phases, plan["micro_batches"], line["samples"][number], lost, looked)
