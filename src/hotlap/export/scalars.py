"""What a run recorded at each step, under names that do not change: what every tracker of experiments takes.

    hotlap/step_seconds                  wall time of the step
    hotlap/phase/PHASE_seconds           its leaf phases, which add up to it
    hotlap/samples_per_second            without validation and checkpoints
    hotlap/loss                          sum over the step's backward calls
    hotlap/memory/process_bytes          resident in the process that trains
    hotlap/memory/device_bytes           allocated on its GPU
    hotlap/memory/trainers_pss_bytes     of all processes that train, shared pages divided among those who share them
    hotlap/memory/workers_pss_bytes      the same of the loader's workers
    hotlap/metric/NAME                   what the training reported with ``hotlap.metric``

The names hold no character that MLflow, W&B, trackio or TensorBoard refuses, and no name is the folder of another one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hotlap.records import UNCOUNTED, Run, Step

#: MLflow takes letters, digits and these; a slash of the user's own would make folders of names.
_REFUSED = re.compile(r"[^\w\-. ]")
#: The longest name that MLflow takes, less our own part of it.
_LONGEST = 200


class Point(NamedTuple):
    """The figures of one step, by name, and the moment of its end on the machine's monotonic clock."""

    step: int
    t: float
    values: dict[str, float]


def points(run: Run) -> Iterator[Point]:
    """Yield the steps in order, each once; a figure that was not recorded at a step is not there.

    Seconds are left out of steps that the probe looked at from close by, which are no measure of the others. What is
    not a finite number, such as a loss that is NaN, is kept: trackers show it.
    """
    beside = _beside(run)
    for step in run.steps:
        values = {**_of_step(step), **beside.pop(step.i, {})}
        if values:
            yield Point(step.i, step.t + step.wall, values)
    end = run.steps[-1].t + run.steps[-1].wall if run.steps else run.info.ended
    for i in sorted(beside):
        yield Point(i, end, beside[i])


def names(run: Run) -> list[str]:
    """Return all names that ``points`` will use, in the order of this module's list."""
    seen = {name for point in points(run) for name in point.values}
    order = ["hotlap/step_seconds", "hotlap/samples_per_second", "hotlap/loss", "hotlap/phase", "hotlap/memory"]

    def rank(name: str) -> tuple[int, str]:
        return next((at for at, begin in enumerate(order) if name.startswith(begin)), len(order)), name

    return sorted(seen, key=rank)


def throughput(step: Step) -> float | None:
    """Return samples per second of a step, without what throughput leaves out everywhere."""
    seconds = step.wall - sum(step.phases.get(phase, 0.0) for phase in UNCOUNTED)
    return step.samples / seconds if step.samples and seconds > 0 else None


def metric_names(reported: Iterable[str]) -> dict[str, str]:
    """Return the exported name of each metric; two that would become the same one are numbered."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(reported):
        clean = _REFUSED.sub("_", name.replace("/", "."))[:_LONGEST].strip(" .") or "unnamed"
        number, numbered = 2, clean
        while numbered in found.values():
            numbered, number = f"{clean}_{number}", number + 1
        found[name] = numbered
    return {name: f"hotlap/metric/{clean}" for name, clean in found.items()}


def _of_step(step: Step) -> dict[str, float]:
    values: dict[str, float] = {}
    if not step.looked:
        values["hotlap/step_seconds"] = step.wall
        speed = throughput(step)
        if speed is not None:
            values["hotlap/samples_per_second"] = speed
        values |= {f"hotlap/phase/{phase}_seconds": seconds for phase, seconds in step.phases.items()}
    if step.loss is not None:
        values["hotlap/loss"] = step.loss
    return values


def _beside(run: Run) -> dict[int, dict[str, float]]:
    """What was not written down step by step, at the step in which it was seen."""
    found: dict[int, dict[str, float]] = {}
    for point in run.memory.points:
        # It was taken when so many steps were over.
        at = found.setdefault(max(0, point.i - 1), {})
        at["hotlap/memory/process_bytes"] = point.bytes
        if point.device is not None:
            at["hotlap/memory/device_bytes"] = point.device
    starts = [step.t for step in run.steps]
    for sample in run.memory.samples:
        index = bisect_right(starts, sample.t) - 1
        if index < 0:
            continue
        at = found.setdefault(run.steps[index].i, {})
        for role, name in (("trainer", "trainers"), ("worker", "workers")):
            held = [each.pss for each in sample.processes if each.role == role]
            if held:
                at[f"hotlap/memory/{name}_pss_bytes"] = sum(held)
    known = metric_names(metric.name for metric in run.metrics)
    for metric in run.metrics:
        found.setdefault(metric.step, {})[known[metric.name]] = metric.value
    return found
