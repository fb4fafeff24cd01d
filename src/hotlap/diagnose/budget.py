"""Where the wall clock of the whole process went.

started    first step                                              last step's end    ended
   |-startup-|-warmup-|-steps, validation, checkpoint, logging-----------|------end-----|
"""

from __future__ import annotations

from statistics import median

from hotlap.diagnose.steady import core, steady_steps
from hotlap.records import BETWEEN, Budget, Run


def budget(run: Run) -> Budget:
    """Close the budget: the parts add up to ``ended - started`` without the seconds that steps were held back.

    A step's pause lies between its own start and the next step's. What no step recorded between the first and
    the last one counts as ``steps``. Without any step everything is ``startup``.
    """
    steps = run.steps
    wall = run.info.ended - run.info.started - sum(step.paused for step in steps)
    if not steps:
        return Budget(wall=wall, startup=wall, warmup=0, steps=0, validation=0, checkpoint=0, logging=0, end=0)
    cores = [core(step) for step in steps]
    start, outliers = steady_steps(steps)
    apart = set(outliers)
    typical = median(cores[i] for i in range(start, len(cores)) if i not in apart and not steps[i].looked)
    between = {name: sum(step.phases.get(name, 0.0) for step in steps) for name in BETWEEN}
    startup = steps[0].t - run.info.started
    warmup = sum((max(0.0, seconds - typical) for seconds in cores[:start]), 0.0)
    last = steps[-1]
    end = run.info.ended - (last.t + last.wall + last.paused)
    return Budget(
        wall=wall,
        startup=startup,
        warmup=warmup,
        steps=wall - startup - warmup - end - sum(between.values()),
        end=end,
        **between,
    )
