"""A step that was measured, beside what its work needs: on the device that it ran on, and on another.

Run ──> median steady step, its phases                              measured
    ──> its work: counted in one of its steps (``profile --trace``), or in the configuration's step gone through
gap:    the work at the device's best rates, and as estimated       where the rest goes
scale:  what the device computes x estimate there / estimate here   derived
        waiting for data, logging, what is unexplained              kept as measured
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from hotlap.errors import UsageError
from hotlap.estimate import times
from hotlap.estimate.best import arithmetic, best_of, used
from hotlap.estimate.calibrated import calibration_here
from hotlap.estimate.cards import Card, find
from hotlap.estimate.epochs import horizon
from hotlap.estimate.rates import timed
from hotlap.estimate.summing import Device
from hotlap.records import (
    COMPUTING,
    PHASES,
    Band,
    Gap,
    GapRow,
    Horizon,
    Run,
    Scaled,
    ScaledPart,
    Step,
    StepTime,
    Work,
)
from hotlap.train.config import TrainConfig, load_config

Say = Callable[[str], None]
#: How the phases of a step are told in its work: what is not here has none.
_COUNTED_AS = {
    "forward": "forward",
    "loss": "forward",
    "backward": "backward",
    "recompute": "recompute",
    "gradient_clip": "forward",
    "optimizer": "optimizer",
}
#: More waiting for cores than this, and somebody else was computing, too.
_BUSY = 0.05
_NAMES = {"forward": "forward, loss, clipping"}


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Of the steady steps that nobody looked at: the median step, and what its phases take, which add up to it."""

    seconds: float
    phases: dict[str, float]
    steps: int


class _On:
    """The device of a run or of a name: what a work takes there, and its best rates."""

    def __init__(self, name: str, cpu: str, config: TrainConfig | None, threads: int = 0) -> None:
        self.card: Card | None = None
        if name.lower() == "cpu":
            calibration = calibration_here(cpu, threads)
            self.name, self.timer = f"this machine's processor ({calibration.cpu})", times.here(calibration)
            busy = ", while other programs computed" * ((calibration.pressure or 0.0) > _BUSY)
            self.best, self.best_from = calibration.rates, f"measured on this machine, {calibration.date[:10]}{busy}"
            self.device: Device = "cpu"
        else:
            self.card = find(name)
            timer, rates = times.on_card(self.card, tf32=times.allows_tf32(config)), times.listed(self.card, config)
            if timer is None or rates is None:
                raise UsageError(f"{self.card.name}: its vendor publishes no rates, so no time follows from them")
            self.name, self.timer, self.best, self.device = self.card.name, timer, rates, "cuda"
            self.best_from = "as its vendor lists them"


def gap_of(run: Run, config: TrainConfig | None, cpu: str, say: Say = lambda _: None) -> Gap:
    """What the measured step takes beyond what its work needs.

    Raises:
        UsageError: the run has no step, its device or the work of its step is not known.
    """
    found = measured(run)
    config = config or _config_of(run)
    on = _device_of(run, cpu, config)
    work, counted = work_of(run, config, on.device, say)
    took, best = on.timer(work), best_of(on.best)
    flat = timed(work, best)
    here, at_best, expected = (_grouped(phases) for phases in (found.phases, flat.phases, took.phases))
    rows = [
        GapRow(
            name=_NAMES.get(phase, phase),
            measured=here.get(phase, 0.0),
            at_best=at_best.get(phase, 0.0),
            expected=expected.get(phase, 0.0),
        )
        for phase in PHASES
        if phase in here or phase in expected
    ]
    bandwidth = next(each.points[-1][1] for each in best.table if each.kind == "elementwise")
    once = [call for call in work.calls if call.phase != "recompute"]
    return Gap(
        device=on.name,
        on_gpu=on.card is not None,
        step=found.seconds,
        steps=found.steps,
        flops=work.flops,
        model_flops=sum(call.flops * call.count for call in once),
        bytes=work.bytes,
        operators=work.operators,
        best_flops=used(work, best),
        best_bandwidth=bandwidth,
        best_from=on.best_from,
        arithmetic=arithmetic(work.calls, best),
        model_arithmetic=arithmetic(once, best),
        moving=work.bytes / bandwidth,
        rows=rows,
        counted=counted,
        unknown=work.unknown,
    )


def scale(
    run: Run,
    config: TrainConfig | None,
    gpu: str,
    cpu: str,
    *,
    samples: int | None = None,
    price: float | None = None,
    say: Say = lambda _: None,
) -> Scaled:
    """The measured step on another device, by the ratio of the estimates of both. Raises as ``gap_of``."""
    found = measured(run)
    config = config or _config_of(run)
    source = _device_of(run, cpu, config)
    target = _On(gpu, cpu, config)
    if target.name == source.name:
        raise UsageError(f"{run.info.name} was measured on {source.name}: name another device, or ask for its --gap")
    work, counted = work_of(run, config, source.device, say)
    other = work
    if target.device != source.device and config is not None and run.trace is None:
        other, _ = work_of(run, config, target.device, say)
    here, there = source.timer(_computing(work)), target.timer(_computing(other))
    parts, computed, kept = [], 0.0, 0.0
    ratio = there.step.likely / here.step.likely
    for name in PHASES:
        seconds = found.phases.get(name, 0.0)
        if not seconds:
            continue
        scales = name in COMPUTING
        computed, kept = (computed + seconds, kept) if scales else (computed, kept + seconds)
        known = "derived" if scales else "measured"
        parts.append(ScaledPart(name=name, measured=seconds, scaled=seconds * (ratio if scales else 1), known=known))  # type: ignore[arg-type]
    step = Band(
        least=kept + computed * _least(there, here),
        likely=kept + computed * ratio,
        most=kept + computed * _most(there, here),
        known="derived",
    )
    return Scaled(
        run=run.info.name,
        source=source.name,
        target=target.name,
        measured=found.seconds,
        steps=found.steps,
        step=step,
        parts=parts,
        modelled=(here.step, there.step),
        counted=counted,
        horizon=_horizon(run, config, samples, price),
    )


def _computing(work: Work) -> Work:
    """Without what is counted while the host fetches data, logs, or does what nothing explains."""
    return msgspec.structs.replace(work, calls=[call for call in work.calls if call.phase in COMPUTING])


def _least(there: StepTime, here: StepTime) -> float:
    """What errs alike here and there cancels; nobody knows how much does, so the wider band of the two is taken."""
    width = max(there.step.likely / there.step.least, here.step.most / here.step.likely)
    return there.step.likely / here.step.likely / width


def _most(there: StepTime, here: StepTime) -> float:
    width = max(there.step.most / there.step.likely, here.step.likely / here.step.least)
    return there.step.likely / here.step.likely * width


def measured(run: Run) -> Measured:
    """Raises UsageError where there is no step to speak of."""
    usual = [step for step in run.steps if not step.looked][-max(1, len(run.steps) // 2) :]
    if not usual:
        raise UsageError(f"{run.info.name} has no step that was only measured: let it run for more steps")
    middle = median(step.wall for step in usual)
    near = [step for step in usual if abs(step.wall - middle) <= 0.1 * middle] or usual
    mean = sum(step.wall for step in near) / len(near)
    phases = {name: _mean(near, name) * middle / mean for name in PHASES}
    return Measured(seconds=middle, phases={name: each for name, each in phases.items() if each}, steps=len(usual))


def _mean(steps: list[Step], name: str) -> float:
    return sum(step.phases.get(name, 0.0) for step in steps) / len(steps)


def _grouped(phases: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in PHASES:
        if seconds := phases.get(name, 0.0):
            group = _COUNTED_AS.get(name, name)
            found[group] = found.get(group, 0.0) + seconds
    return found


def work_of(run: Run, config: TrainConfig | None, device: Device, say: Say) -> tuple[Work, str]:
    """What a step of the run computes and moves, and where that is from."""
    if run.trace is not None and run.trace.work is not None:
        return run.trace.work, "counted in a step of the run"
    if config is None:
        why = run.trace.uncounted if run.trace is not None else None
        what = (
            "was not counted: profile it with --trace"
            if why is None
            else f"could not be counted, because {why}: undo that"
        )
        raise UsageError(
            f"what a step of {run.info.name} computes {what}, or give the configuration of `hotlap train` that it ran"
        )
    from hotlap.estimate.trained import follow  # it builds networks, which what was counted does not need

    say("going through a step of the configuration")
    return follow(config, device=device).work, "counted in the configuration's step, gone through without memory"


def _config_of(run: Run) -> TrainConfig | None:
    """That of ``hotlap train CONFIG``, where it is still there."""
    words = run.info.command
    if "train" not in words or not any("hotlap" in word for word in words):
        return None
    for word in words[words.index("train") + 1 :]:
        path = Path(run.info.cwd) / word
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return load_config(path)
    return None


def _device_of(run: Run, cpu: str, config: TrainConfig | None) -> _On:
    where = run.facts.device or "cpu"
    if where.startswith("cpu"):
        if run.info.environment.cpu != cpu:
            raise UsageError(
                f"{run.info.name} ran on {run.info.environment.cpu}, of which no rates are known here: ask there"
            )
        return _On("cpu", cpu, config, run.facts.threads or 0)
    if where.startswith("cuda") and run.info.environment.gpus:
        return _On(run.info.environment.gpus[0], cpu, config)
    raise UsageError(f"{run.info.name} ran on {where}, of which no rates are known")


def _horizon(run: Run, config: TrainConfig | None, samples: int | None, price: float | None) -> Horizon | None:
    if config is not None:
        return horizon(config, ranks=run.facts.world_size, samples=samples, price=price)
    together = next((step.samples for step in reversed(run.steps) if step.samples), None)
    if together is None:
        return None
    ranks = run.facts.world_size
    return Horizon(
        samples=together * ranks,
        epoch_samples=samples,
        epoch_from="as given" if samples is not None else "give --samples",
        steps_from="a script does not say how long it trains",
        price=price,
        ranks=ranks,
    )
