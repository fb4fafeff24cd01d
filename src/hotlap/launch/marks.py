"""The steps of a record as they went, mark by mark, read one line of the file at a time.

times    t0 ────── t1 ────── t2 ── t3      nanoseconds of the machine's monotonic clock
phases      data_wait  forward  loss       ``paused`` while a controller held the step back
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def marked_steps(path: Path) -> Iterator[MarkedStep]:
    """Yield the steps of ``steps.jsonl`` in order; a last line that was cut off is left out.

    Raises:
        RunError: it cannot be read, or holds what no probe writes.
    """
    plans: dict[int, dict[str, Any]] = {}
    try:
        with path.open("rb") as file:
            for line in file:
                for record in records([line], path) if line.endswith(b"\n") else ():
                    if record["k"] == "plan":
                        plans[record["id"]] = record
                    elif record["k"] == "steps" and record["plan"] in plans:
                        yield from _steps(record, plans[record["plan"]])
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{path} holds a line that no probe of this hotlap writes ({error!r})") from error


def _steps(record: dict[str, Any], plan: dict[str, Any]) -> Iterator[MarkedStep]:
    phases = [plan["phases"][slot] for slot in plan["slots"]]
    looked = record.get("looked", ())
    for number, (samples, loss) in enumerate(zip(record["samples"], record["losses"], strict=True)):
        first, i = number * len(phases), record["i"] + number
        times = record["times"][first : first + len(phases) + 1]
        if len(times) <= len(phases):
            raise ValueError(f"step {i} has {len(times)} marks for {len(phases)} phases")
        lost = None if loss is None else float(loss)
        yield MarkedStep(i, times, phases, plan["micro_batches"], samples, lost, i in looked)
