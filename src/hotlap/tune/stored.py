"""Two stored runs side by side: what differs, and what of that can be believed.

    steady steps of A   |block|block|block| ...        a pair is a block of B by the block of A with its number
    steady steps of B   |block|block|block| ...        pairs -> statistics.effect -> statistics.judge

The pairs were not measured next to each other: what moved both runs as a whole (another launch, clocks, other load) is
in the ratio, and the interval knows nothing of it. So the verdict is one on two recordings, and never "proven".
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from hotlap.diagnose import core, diagnose
from hotlap.diagnose.context import Context
from hotlap.records import (
    Diagnosis,
    Differing,
    Effect,
    Facts,
    Finding,
    FindingShift,
    Run,
    Step,
    StoredComparison,
    StoredRun,
    busy,
    differences,
    moment_of,
)
from hotlap.tune.arms import BLOCK_SECONDS, BLOCK_STEPS, losses, throughput
from hotlap.tune.disturbances import drift
from hotlap.tune.guard import identical
from hotlap.tune.statistics import ALPHA, AUTOCORRELATION, LEAST_SPREAD, effect, judge

#: Blocks of each run at the most: more of them would resemble their neighbours.
MOST_BLOCKS = 20
#: Where fewer blocks of ``BLOCK_SECONDS`` fit, they may be shorter, and so many.
FEW_BLOCKS = 5
SHORT_BLOCKS = 10
#: A finding has changed when its seconds differ by this share of the larger, and of the step.
CHANGED = 0.1
CHANGED_OF_STEP = 0.01
#: Fewer losses that are the same may be so by chance, or before the trainings part.
_LEAST_LOSSES = 5

#: Settings of a training: what each is called, and whether figures of two that differ in it measure different things.
_SETTINGS: tuple[tuple[str, str, bool], ...] = (
    ("device", "device", True),
    ("world_size", "ranks", True),
    ("batch_size", "batch size", True),
    ("micro_batches", "micro-batches of a step", True),
    ("parameters", "parameters", True),
    ("parameter_dtype", "type of the parameters", False),
    ("autocast", "autocast", False),
    ("matmul_precision", "float32 precision", False),
    ("channels_last", "channels last", False),
    ("compiled", "compiled", False),
    ("checkpointing", "activation checkpointing", False),
    ("optimizer", "optimizer", False),
    ("optimizer_fused", "fused optimizer", False),
    ("optimizer_foreach", "optimizer with foreach", False),
    ("optimizer_bits", "bits of its state", False),
    ("workers", "loader workers", False),
    ("prefetch_factor", "prefetch factor", False),
    ("persistent_workers", "persistent workers", False),
    ("pin_memory", "pinned memory", False),
    ("threads", "threads", False),
    ("allocator", "allocator", False),
    ("cudnn_benchmark", "cuDNN benchmark", False),
)


def compare_stored(a: Run, b: Run) -> StoredComparison:
    """Set two runs side by side.

    Raises:
        TrainingFailed: one of them has no step.
    """
    runs = a, b
    found = diagnose(a), diagnose(b)
    steady = Context(a).steps, Context(b).steps
    # Batches without a sample, too, are no measure of speed.
    in_steps = any(not step.samples for steps in steady for step in steps)
    levels = _levels(*steady, in_steps)
    measured = effect([new / old for old, new in zip(*levels, strict=True)], 1 - ALPHA)
    same, evidence = _same_losses(a, b, *steady)
    stored = [_stored(run, diagnosis, steps) for run, diagnosis, steps in zip(runs, found, steady, strict=True)]
    return StoredComparison(
        a=stored[0],
        b=stored[1],
        environment=differences(a.info.environment, b.info.environment),
        configuration=_configuration(a, b, *steady),
        effect=measured,
        unit="steps" if in_steps else "samples",
        judgement=judge(measured),
        findings=_findings(*found),
        same_losses=same,
        losses=evidence,
        warnings=[
            *(line for name, run in zip("AB", runs, strict=True) for line in _trouble(name, run)),
            *_held(runs),
            *(line for name, each in zip("AB", levels, strict=True) for line in _unsteady(name, each)),
            *_few(measured),
        ],
        limits=_limits(a, b, same),
    )


def regression(comparison: StoredComparison, minimum: float) -> str | None:
    """Why B looks like a regression by these recordings, None where it does not (see ``compare.regression``)."""
    measured = comparison.effect
    figures = f"{measured.ratio:.2f}x [{measured.low:.2f}, {measured.high:.2f}], {measured.n} pairs of blocks"
    unlike = "" if comparison.comparable else "; what differs beside it may be the reason"
    if comparison.judgement == "slower":
        return f"its recorded steps are slower: {figures}{unlike}"
    if comparison.judgement != "faster" and measured.n and measured.ratio < 1 / (1 + minimum):
        return f"its recorded steps look slower, and that they are not cannot be shown: {figures}{unlike}"
    return None


def _stored(run: Run, diagnosis: Diagnosis, steady: Sequence[Step]) -> StoredRun:
    return StoredRun(
        name=run.info.name,
        date=run.info.date,
        command=run.info.command,
        outcome=run.info.outcome,
        steps=len(run.steps),
        steady_steps=len(steady),
        step_seconds=diagnosis.step_seconds,
        phases=diagnosis.phases,
        throughput=diagnosis.throughput,
        samples=_samples(steady),
        peak_memory=run.facts.peak_memory,
        peak_device_memory=run.facts.peak_device_memory,
    )


def _levels(a: Sequence[Step], b: Sequence[Step], in_steps: bool) -> tuple[list[float], list[float]]:
    """Throughput of as many blocks of each; of one with a single block nothing can be told."""
    count = min(_blocks(a), _blocks(b))
    if count < FEW_BLOCKS:
        count = max(1, min(SHORT_BLOCKS, len(a) // BLOCK_STEPS, len(b) // BLOCK_STEPS))
    first, second = ([throughput(block, in_steps=in_steps) for block in _cut(steps, count)] for steps in (a, b))
    return first, second


def _blocks(steps: Sequence[Step]) -> int:
    seconds = sum(core(step) for step in steps)
    return min(MOST_BLOCKS, len(steps) // BLOCK_STEPS, int(seconds / BLOCK_SECONDS))


def _cut(steps: Sequence[Step], count: int) -> list[Sequence[Step]]:
    borders = [round(at * len(steps) / count) for at in range(count + 1)]
    return [steps[begin:end] for begin, end in pairwise(borders)]


def _configuration(a: Run, b: Run, steps_a: Sequence[Step], steps_b: Sequence[Step]) -> list[Differing]:
    """What decides first. What one of the two does not know is no difference."""
    found = [
        Differing(name=name, a=_shown(old), b=_shown(new), decides=decides)
        for field, name, decides in _SETTINGS
        if (old := _setting(a.facts, field)) is not None
        and (new := _setting(b.facts, field)) is not None
        and old != new
    ]
    names = {each.name for each in found}
    samples = _samples(steps_a), _samples(steps_b)
    if samples[0] != samples[1] and None not in samples and not names & {"batch size", "micro-batches of a step"}:
        found.append(Differing(name="samples of a step", a=f"{samples[0]:g}", b=f"{samples[1]:g}", decides=True))
    changes = a.info.changes, b.info.changes
    for name in sorted({*changes[0], *changes[1]}):
        if changes[0].get(name) != changes[1].get(name):
            old, new = ("none" if name not in each else _shown(each[name]) for each in changes)
            found.append(Differing(name=f"change {name}", a=old, b=new))
    if a.info.command != b.info.command:
        found.append(Differing(name="command", a=shlex.join(a.info.command), b=shlex.join(b.info.command)))
    return sorted(found, key=lambda each: not each.decides)


def _setting(facts: Facts, field: str) -> Any:
    """None where it is not known; of a training that is, no autocast means that it is off."""
    value = getattr(facts, field)
    return "off" if field == "autocast" and value is None and facts.device is not None else value


def _samples(steps: Sequence[Step]) -> float | None:
    samples = [step.samples for step in steps if step.samples is not None]
    return float(median(samples)) if samples and len(samples) == len(steps) else None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _findings(a: Diagnosis, b: Diagnosis) -> list[FindingShift]:
    """By what they have gained or lost, the most first."""
    old, new = ({finding.code: finding for finding in each.findings} for each in (a, b))
    step = max(a.step_seconds, b.step_seconds)
    shifts = [
        FindingShift(
            code=code,
            title={**old, **new}[code].title,
            a=old[code].seconds if code in old else None,
            b=new[code].seconds if code in new else None,
            state=_state(old.get(code), new.get(code), step),
        )
        for code in dict.fromkeys([*old, *new])
    ]
    return sorted(shifts, key=lambda each: -abs((each.b or 0.0) - (each.a or 0.0)))


def _state(before: Finding | None, after: Finding | None, step: float) -> Literal["came", "went", "changed", "stayed"]:
    if before is None:
        return "came"
    if after is None:
        return "went"
    moved = abs(after.seconds - before.seconds)
    much = moved > CHANGED * max(after.seconds, before.seconds) and moved > CHANGED_OF_STEP * step
    return "changed" if much else "stayed"


def _same_losses(a: Run, b: Run, steps_a: Sequence[Step], steps_b: Sequence[Step]) -> tuple[bool | None, str]:
    if _samples(steps_a) != _samples(steps_b):
        return None, "their steps hold different numbers of samples, so losses cannot be compared step by step"
    if a.steps[0].i != b.steps[0].i:
        return None, "their records do not begin at the same step"
    of_a, of_b = losses(a), losses(b)
    common = sum(x is not None and y is not None for x, y in zip(of_a, of_b, strict=False))
    if 0 < common < _LEAST_LOSSES:
        return None, f"only {common} of their losses can be compared, which says too little"
    same, evidence = identical(of_a, of_b)
    if same:
        return True, f"{evidence}, from the first step on"
    if same is None:
        return None, evidence
    return None, f"{evidence}: another training, or the same with another seed, which two recordings cannot tell"


def _trouble(name: str, run: Run) -> list[str]:
    told = []
    if run.info.outcome not in ("finished", "stopped"):
        reason = f": {run.info.reason.rstrip('.')}" if run.info.reason else ""
        told.append(f"{name} did not end as it should ({run.info.outcome.replace('_', ' ')}){reason}")
    if run.facts.device is None:
        told.append(f"the record of {name} does not know the settings of the training, so what of them differs is open")
    load = busy(run.info.environment)
    if load is not None:
        told.append(f"the machine was busy with something else when {name} began: {load}")
    return told


def _held(runs: Sequence[Run]) -> list[str]:
    names = [name for name, run in zip("AB", runs, strict=True) if any(step.paused for step in run.steps)]
    if not names:
        return []
    who = f"{' and '.join(names)} {'were' if len(names) > 1 else 'was'}"
    return [
        f"{who} held and let go by a tuning or a comparison; where other settings took turns in the process, its steps "
        "are not of one training (the result of the tuning says what was measured)"
    ]


def _unsteady(name: str, levels: Sequence[float]) -> list[str]:
    logs = [math.log(level) for level in levels]
    moved = drift(logs)
    if moved is not None:
        how = "slowed down" if moved < 0 else "became faster"
        return [f"{name} {how} by {100 * abs(moved):.0f}% over its steps, so its mean depends on where it was cut off"]
    resemblance = _autocorrelation(logs)
    if resemblance is not None and resemblance > 2 * AUTOCORRELATION:
        return [f"neighbouring blocks of {name} resemble each other ({resemblance:.1f}), so the interval is too narrow"]
    return []


def _autocorrelation(values: Sequence[float]) -> float | None:
    """Of neighbours; None where there are few, or they hardly scatter."""
    if len(values) < SHORT_BLOCKS:
        return None
    middle = sum(values) / len(values)
    off = [value - middle for value in values]
    whole = sum(each * each for each in off)
    if whole <= len(values) * LEAST_SPREAD**2:
        return None
    return sum(one * other for one, other in pairwise(off)) / whole


def _few(measured: Effect) -> list[str]:
    if measured.n < FEW_BLOCKS:
        return [f"the steady steps make only {measured.n} pairs of blocks, too few to tell how sure the ratio is"]
    return []


def _limits(a: Run, b: Run, same: bool | None) -> list[str]:
    return [
        f"The runs were not measured in turns: {_apart(a, b)}. What changed on the machine in between (clocks, other "
        "load, caches), and what differs from launch to launch, is in the ratio; the interval is from blocks inside "
        "each run and knows nothing of it. Recordings of one and the same training can lie far apart (docs/exports.md "
        "shows how far).",
        "A difference between two recordings names no cause: all that differs above may be it.",
        *([] if same else ["Whether B is the same training as A cannot be told."]),
    ]


def _apart(a: Run, b: Run) -> str:
    first, second = moment_of(a.info.date), moment_of(b.info.date)
    if first is None or second is None:
        return "when they began is not known"
    seconds = (second - first).total_seconds()
    for length, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")):
        if abs(seconds) >= 2 * length or length == 1.0:
            return f"B began {abs(seconds) / length:.0f} {unit} {'after' if seconds >= 0 else 'before'} A"
    raise AssertionError
