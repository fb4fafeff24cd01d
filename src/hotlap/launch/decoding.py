"""From the lines of ``steps.jsonl`` to those that say what they mean.

    {"k":"plan","id":0,"phases":["data_wait","forward"],"slots":[0,1,1],"micro_batches":1}
        the first mark begins a wait for data, the second and the third are forward
    {"k":"steps","i":7,"plan":0,"times":[0,20,50,90, 110,...],"samples":[8,8],"losses":[0.4,0.3]}
        two such steps, the first from 0 to 90 ns of which 70 forward
    {"k":"device","steps":[{"plan":0,"first":1,"host":[0,5,9,...],"device":[2,30,41,...],...}]}
        when the host and a GPU came to the marks of a step, from its mark number 1 to that of the next step

The training only writes down what it saw. Adding up is left to the reader, which has the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

Line = dict[str, Any]

_SECOND = 1e9


class Decoder:
    """Knows the plans that a record has given so far."""

    def __init__(self) -> None:
        self._plans: dict[int, Line] = {}

    def decode(self, lines: list[Line]) -> list[Line]:
        """Return the lines with each step as a line of its own, as in ``records.Step``."""
        decoded: list[Line] = []
        for line in lines:
            if line["k"] == "plan":
                self._plans[line["id"]] = line
            elif line["k"] == "steps":
                with contextlib.suppress(LookupError):  # a record that lost its beginning
                    decoded += _steps(line, self._plans[line["plan"]])
            elif line["k"] == "device":
                known = [step for step in line["steps"] if step["plan"] in self._plans]
                decoded.append({**line, "steps": [{**step, "phases": self._from(step)} for step in known]})
            else:
                decoded.append(line)
        return decoded

    def _from(self, step: Line) -> list[str]:
        """The phases between the marks of a step that is seen from one of its marks on, up to the same of the next."""
        plan, first = self._plans[step["plan"]], step["first"]
        phases = [plan["phases"][slot] for slot in plan["slots"]]
        return [*phases[first:], *phases[: first + 1]]


def _steps(line: Line, plan: Line) -> Iterator[Line]:
    times, slots, phases = line["times"], plan["slots"], plan["phases"]
    looked = line.get("looked", ())
    for number, (samples, loss) in enumerate(zip(line["samples"], line["losses"], strict=True)):
        start = number * len(slots)
        spent = nanoseconds(times[start : start + len(slots) + 1], slots, len(phases))
        seconds = {phase: each / _SECOND for phase, each in zip(phases, spent, strict=True)}
        paused = seconds.pop("paused", 0.0)
        yield {
            "k": "step",
            "i": line["i"] + number,
            "t": times[start] / _SECOND,
            "wall": (times[start + len(slots)] - times[start]) / _SECOND - paused,
            "phases": seconds,
            "micro_batches": plan["micro_batches"],
            "samples": samples,
            "loss": loss,
            "paused": paused,
            "looked": line["i"] + number in looked,
        }


def nanoseconds(times: list[int], slots: list[int], phases: int) -> list[int]:
    """Nanoseconds of each of so many phases; ``slots`` are the phases of the marks whose ``times`` these are."""
    spent = [0] * phases
    before = times[0]
    for slot, now in zip(slots, times[1:], strict=True):
        spent[slot] += now - before
        before = now
    return spent
