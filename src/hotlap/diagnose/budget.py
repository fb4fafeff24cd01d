"""Where the wall clock of the whole process went.

started   torch is there   first step                                                  last step's end      ended
   |-startup-|---building------|-warmup-|-steps, measuring, validation, checkpoint, logging---|------end--------|
                   └ compiling, loader_start ┴ ... are taken out of whatever they happened in ┘
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from hotlap.diagnose.happenings import compiled, compiled_in_validation, started, training_starts, usual_wait
from hotlap.diagnose.steady import core, steady_steps
from hotlap.records import BETWEEN, Budget, Compilation, LoaderStart, Run


def budget(run: Run) -> Budget:
    """Close the budget: the parts add up to ``ended - started`` without the seconds that steps were held back.

    A step's pause lies between its own start and the next step's. What no step recorded between the first and
    the last one is ``unexplained``. Without any step everything is ``startup``.
    """
    steps, info = run.steps, run.info
    wall = info.ended - info.started - sum(step.paused for step in steps)
    if not steps:
        return Budget(wall=wall, startup=wall, warmup=0, steps=0, validation=0, checkpoint=0, logging=0, end=0)
    first, last = steps[0], steps[-1]
    left = last.t + last.wall + last.paused
    imported = run.startup.imported if run.startup is not None else first.t
    imported = min(max(imported, info.started), first.t)
    building, end = first.t - imported, info.ended - left
    between = {name: sum(step.phases.get(name, 0.0) for step in steps) for name in BETWEEN}

    compiling, validating = compiled(run), compiled_in_validation(run)
    between["validation"] -= sum(validating.values())
    early, late = _outside(run, first.t, left)
    compiled_early = min(building, sum(each.seconds for each in early[0]))
    started_early = min(building - compiled_early, sum(each.seconds + (each.first_batch or 0) for each in early[1]))
    compiled_late = min(end, sum(each.seconds for each in late[0]))

    start, outliers = steady_steps(steps, compiling)
    starting = {each.step for each in training_starts(run) if each.step is not None}
    loading = started(run, usual_wait(steps[start:], dict.fromkeys(starting)))
    # What a step took without what is counted elsewhere.
    own: list[float] = []
    loader_start = 0.0
    for step in steps:
        rest = core(step) - compiling.get(step.i, 0.0)
        load = min(rest, loading.get(step.i, 0.0))
        loader_start += load
        own.append(rest - load)
    apart = {*outliers, *(i for i, step in enumerate(steps) if step.looked or step.i in compiling)}
    usual = [own[i] for i in range(start, len(own)) if i not in apart] or own[start:]
    typical = median(usual)
    measuring = sum((max(0.0, own[i] - typical) for i, step in enumerate(steps) if step.looked), 0.0)
    warmup = sum((max(0.0, own[i] - typical) for i in range(start) if not steps[i].looked), 0.0)
    return Budget(
        wall=wall,
        startup=imported - info.started,
        building=building - compiled_early - started_early,
        compiling=compiled_early + sum(compiling.values()) + sum(validating.values()) + compiled_late,
        loader_start=started_early + loader_start,
        warmup=warmup,
        steps=sum(own) - warmup - measuring,
        measuring=measuring,
        end=end - compiled_late,
        unexplained=left - first.t - sum(step.wall + step.paused for step in steps),
        **between,
    )


_Outside = tuple[list[Compilation], list[LoaderStart]]


def _outside(run: Run, first: float, left: float) -> tuple[_Outside, _Outside]:
    """What happened before the first step, and what after the last."""

    def where(when: Callable[[float], bool]) -> _Outside:
        compilations = [each for each in run.compilations if each.step is None and when(each.t)]
        return compilations, [each for each in run.loader_starts if each.step is None and when(each.t)]

    return where(lambda t: t < first), where(lambda t: t >= left)
