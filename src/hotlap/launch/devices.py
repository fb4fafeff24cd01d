"""What a GPU did in each phase, from the moments of the host and of the device at the same marks.

    host     ──h0─────h1───────────────       h1: all of the phase has been handed over
    device   ─────d0──────────d1───────       d1: all of it is done; from h1 on the device was certainly at work
                      ├─ busy ┤

Between two events a device may be idle without anybody seeing it, so for its work there are two bounds. The upper one
is the time between the events. The lower one is the part of it after the host had handed everything over: what was not
over then was still being worked on. Where the device begins a phase after that (d0 >= h1), both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hotlap.records import COMPUTING, DevicePhase, DevicePhases

#: An event that the device came to within so many nanoseconds after it was recorded found next to nothing before it:
#: recording and noticing it takes some 10 us, and the operation that was handed over last may still run.
_AT_ONCE = 100_000
_SECOND = 1e9


@dataclass
class _Seen:
    """Nanoseconds of one step by phase."""

    wall: int
    host: dict[str, int] = field(default_factory=dict)
    elapsed: dict[str, int] = field(default_factory=dict)
    at_least: dict[str, int] = field(default_factory=dict)
    at_most: dict[str, int] = field(default_factory=dict)
    marks: int = 0
    dry: int = 0
    host_waits: int = 0


def device_of(lines: Sequence[dict[str, Any]]) -> DevicePhases | None:
    """The last of the lines stands for those before it (``Decoder`` has put the phases in)."""
    found = [line for line in lines if line["k"] == "device"]
    steps = found[-1]["steps"] if found else []
    usual = [_seen(step) for step in steps if not step["held"]]
    held = [_seen(step) for step in steps if step["held"]]
    if not usual:
        return None
    names = dict.fromkeys(name for seen in usual for name in seen.host)
    marks = sum(seen.marks for seen in usual)
    return DevicePhases(
        steps=len(usual),
        held=len(held),
        wall=median(seen.wall for seen in usual) / _SECOND,
        phases={name: _phase(name, usual, held) for name in names},
        dry=sum(seen.dry for seen in usual) / marks if marks else 0.0,
        host_waits=median(seen.host_waits for seen in usual) / _SECOND,
    )


def _phase(name: str, usual: list[_Seen], held: list[_Seen]) -> DevicePhase:
    def middle(values: list[dict[str, int]]) -> float:
        return median(each.get(name, 0) for each in values) / _SECOND

    groups = [group for group in (usual, held) if group]
    at_least = max(middle([seen.at_least for seen in group]) for group in groups)
    at_most = min(middle([seen.at_most for seen in group]) for group in groups)
    return DevicePhase(
        host=middle([seen.host for seen in usual]),
        elapsed=middle([seen.elapsed for seen in usual]),
        at_least=min(at_least, at_most),
        at_most=at_most,
    )


def _seen(step: dict[str, Any]) -> _Seen:
    host, device, slack = step["host"], step["device"], step["slack"]
    seen = _Seen(wall=host[-1] - host[0])
    for index, name in enumerate(step["phases"]):
        begins, ends = device[index], device[index + 1]
        handed_over = host[index + 1]
        busy = max(0, ends - max(begins, handed_over))
        _add(seen.host, name, handed_over - host[index])
        _add(seen.elapsed, name, ends - begins)
        _add(seen.at_least, name, busy)
        # While the host waits for data it hands nothing over.
        _add(seen.at_most, name, busy if name == "data_wait" else max(0, ends - begins))
        dry = slack is not None and ends + slack - handed_over <= _AT_ONCE
        if name in COMPUTING:
            seen.marks += 1
            seen.dry += dry
        if dry:
            seen.host_waits += max(0, min(begins, handed_over) - host[index])
    return seen


def _add(spent: dict[str, int], name: str, nanoseconds: int) -> None:
    spent[name] = spent.get(name, 0) + nanoseconds
