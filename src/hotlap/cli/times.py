"""What ``hotlap estimate`` says about time: the calibration, this machine's processor, and runs that were measured."""

from __future__ import annotations

from pathlib import Path

from hotlap.errors import UsageError
from hotlap.terminal import Progress, print_json, print_view
from hotlap.train.config import TrainConfig, load_config


def calibrate(config: Path | None, threads: int | None, json: bool) -> None:
    """Measure this machine's processor and keep what was found."""
    if config is not None:
        raise UsageError(f"{config}: --calibrate measures this machine and takes no configuration")
    from hotlap.estimate.calibrated import calibrate_here
    from hotlap.launch import environment
    from hotlap.report import calibrations

    known = environment()
    with Progress() as progress:
        found, path = calibrate_here(known.cpu, known.pressure, progress, threads=threads)
    print_json(found) if json else print_view(calibrations.calibration(found, str(path)))


def on_cpu(
    config: TrainConfig,
    memory: int | None,
    *,
    variants: bool,
    ranks: int,
    samples: int | None,
    price: float | None,
    json: bool,
) -> None:
    """Estimate a configuration on this machine's processor."""
    if ranks > 1:
        raise UsageError("--gpu cpu is one process on this machine: leave out --ranks")
    from hotlap.estimate.calibrated import calibration_here
    from hotlap.estimate.epochs import horizon
    from hotlap.estimate.on_cpu import estimate_here
    from hotlap.launch import environment
    from hotlap.launch.environment import usable_memory
    from hotlap.report import fits

    calibration = calibration_here(environment().cpu, config.threads)
    ahead = horizon(config, samples=samples, price=price)
    room = usable_memory() if memory is None else memory
    with Progress() as progress:
        found = estimate_here(config, calibration, memory=room, variants=variants, ahead=ahead, say=progress)
    print_json(found) if json else print_view(fits.training(found))


def from_run(
    target: Path,
    config: Path | None,
    gpu: str | None,
    *,
    gap: bool,
    samples: int | None,
    price: float | None,
    json: bool,
) -> None:
    """Scale a measured step to another device, or say what it takes beyond its work."""
    if gap and gpu is not None:
        raise UsageError("--gap is about the device that the run was measured on: leave out --gpu")
    if not gap and gpu is None:
        raise UsageError("--from-run scales a step to another device: name it with --gpu, or ask for its --gap")
    if gap and (samples is not None or price is not None):
        named = "--price" if samples is None else "--samples"
        raise UsageError(f"{named} is of a whole training, and --gap about a step: leave one out")
    from hotlap.report import gaps, scaled
    from hotlap.report.loading import load_run

    run, _ = load_run(target)
    training = None if config is None else load_config(config)
    if gpu is not None and gpu.lower() != "cpu":
        from hotlap.estimate.cards import find

        find(gpu)  # a wrong name need not wait for torch
    from hotlap.estimate.from_run import gap_of, scale
    from hotlap.launch import environment

    with Progress() as progress:
        if gap:
            found = gap_of(run, training, environment().cpu, say=progress)
            print_json(found) if json else print_view(gaps.gap(found))
        else:
            assert gpu is not None
            onto = scale(run, training, gpu, environment().cpu, samples=samples, price=price, say=progress)
            print_json(onto) if json else print_view(scaled.scaled(onto))
