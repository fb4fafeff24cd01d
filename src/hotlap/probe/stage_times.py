"""What the watched steps took: their marks become seconds, by stage and kind, on the host and on the device.

The marks are those of ``stages``. A device comes to its events later, so they are read when it is asked for the next
time whether they are over.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from statistics import median_low
from typing import Any

FORWARD, LOSS, BACKWARD, RECOMPUTE = "forward", "loss", "backward", "recompute"
_KINDS = (FORWARD, BACKWARD, RECOMPUTE)
#: What runs outside of every module.
NONE = -1

#: Watched steps that are kept.
_KEPT = 15


class Stage:
    """A module at its place in the nesting of calls."""

    __slots__ = ("cls", "depth", "parent", "path", "phase")

    def __init__(self, path: str, cls: str, parent: int, depth: int) -> None:
        self.path = path
        self.cls = cls
        self.parent = parent
        self.depth = depth
        #: Which phase of the step its forward belongs to.
        self.phase = FORWARD


class StepMarks:
    """The marks of one step, and which modules it called."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.times: list[float] = []
        self.owners: list[int] = []
        self.kinds: list[str] = []
        self.events: list[Any] = []
        #: Mark at which each call began, and whose call it was.
        self.calls: list[tuple[int, int]] = []
        #: Of each thread: from which autograd number on the nodes are whose.
        self.numbers: dict[int, tuple[list[int], list[int]]] = {}
        self.names: dict[int, str] = {}
        self.roots: dict[int, str] = {}
        #: Outermost modules, held so that no id is given again, and the stage of each module.
        self.held: list[Any] = []
        self.by_module: dict[int, int] = {}
        self.visited = 0
        #: By stage: the autograd nodes that its operators made.
        self.nodes: dict[int, int] = {}
        #: Number of marks when each backward ended.
        self.trained: list[int] = []
        self.spoiled = False


class _Seen:
    """What a step took: by stage the calls and the seconds of each kind, on the host and on the device."""

    __slots__ = ("calls", "device", "host", "nodes", "waiting")

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}
        self.nodes: dict[int, int] = {}
        self.host: dict[tuple[int, str], float] = {}
        self.device: dict[tuple[int, str], float] | None = None
        #: Events that the device may not have come to, and whose the time up to the next one is.
        self.waiting: list[tuple[Any, tuple[int, str] | None]] = []


class StageTimes:
    """Those of the last watched steps."""

    def __init__(self) -> None:
        self.seen: deque[_Seen] = deque(maxlen=_KEPT)
        self.steps = 0
        self.said = 0

    def add(self, step: StepMarks, boundary: float) -> None:
        """``boundary``: when the step ended, in the seconds of its marks."""
        seen = _Seen()
        seen.nodes = step.nodes
        # Where no backward follows before the step's end, nothing was trained: a validation, a metric. What comes after
        # the end is of the next step, and stands for the same calls before this one was watched.
        trained = max((count for count in step.trained if step.times[count - 1] <= boundary), default=0)
        counts = [index < trained or at >= boundary for index, at in enumerate(step.times)]
        for mark, stage in step.calls:
            if counts[mark]:
                seen.calls[stage] = seen.calls.get(stage, 0) + 1
        whose: list[tuple[int, str] | None] = []
        for index, (owner, kind) in enumerate(zip(step.owners, step.kinds, strict=True)):
            stands = counts[index] and (owner != NONE or kind != FORWARD)
            whose.append((owner, kind) if stands else None)
        for index, key in enumerate(whose[:-1]):
            if key is not None:
                seen.host[key] = seen.host.get(key, 0.0) + step.times[index + 1] - step.times[index]
        if step.events and None not in step.events:
            seen.waiting = list(zip(step.events, whose, strict=True))
        self.seen.append(seen)
        self.steps += 1

    def read_events(self) -> list[Any]:
        """Ask which events are over. Return those that can be recorded again."""
        free: list[Any] = []
        for seen in self.seen:
            if not seen.waiting:
                continue
            with suppress(Exception):  # e.g. events of several devices
                if not all(event.query() for event, _ in seen.waiting):
                    continue
                device: dict[tuple[int, str], float] = {}
                for (event, key), (after, _) in zip(seen.waiting, seen.waiting[1:], strict=False):
                    if key is not None:
                        device[key] = device.get(key, 0.0) + max(0.0, event.elapsed_time(after) / 1e3)
                seen.device = device
            free += [event for event, _ in seen.waiting]
            seen.waiting = []
        return free

    def line(self, stages: list[Stage]) -> dict[str, Any] | None:
        """All stages with the medians over the watched steps; a step that did not come to a stage counts as 0.

        Of two in the middle it is the lower: what disturbs a step only makes it longer. None where nothing is new.
        """
        state = self.steps + sum(seen.device is not None for seen in self.seen)
        if not self.seen or state == self.said:
            return None
        self.said = state
        on_device = [seen.device for seen in self.seen if seen.device is not None]
        host = [seen.host for seen in self.seen]
        told = []
        places = self._places(stages)
        for index, stage in enumerate(stages):
            if index not in places:
                continue
            fields: dict[str, Any] = {
                "path": stage.path,
                "module": stage.cls,
                "parent": places.get(stage.parent),
                "phase": stage.phase,
                "calls": median_low(seen.calls.get(index, 0) for seen in self.seen),
                "nodes": median_low(seen.nodes.get(index, 0) for seen in self.seen),
            }
            for kind in _KINDS:
                fields[kind] = _median(host, index, kind)
                if on_device:
                    fields[f"device_{kind}"] = _median(on_device, index, kind)
            told.append(fields)
        line: dict[str, Any] = {"steps": len(self.seen), "stages": told, "outside": _outside(host)}
        if on_device:
            line["device_outside"] = _outside(on_device)
        return line

    def _places(self, stages: list[Stage]) -> dict[int, int]:
        """New numbers of the stages without those that were only called to validate."""
        used: set[int] = set()
        for seen in self.seen:
            for stage in {*seen.calls, *(owner for owner, _ in seen.host)}:
                while stage != NONE and stage not in used:
                    used.add(stage)
                    stage = stages[stage].parent
        return {stage: place for place, stage in enumerate(sorted(used))}


def _median(steps: list[dict[tuple[int, str], float]], stage: int, kind: str) -> float:
    return round(median_low(step.get((stage, kind), 0.0) for step in steps), 9)


def _outside(steps: list[dict[tuple[int, str], float]]) -> float:
    """Backward of what no module made."""
    return round(_median(steps, NONE, BACKWARD) + _median(steps, NONE, RECOMPUTE), 9)
