"""``hotlap estimate -- python train.py``: a script before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.errors import UsageError
from hotlap.terminal import Progress, as_bytes, print_json, print_view

if TYPE_CHECKING:
    from hotlap.estimate.script.followed import Ended


def estimate(
    command: list[str],
    gpu: str | None,
    gpu_memory: str | None,
    *,
    every_card: bool,
    batch_size: int | None,
    ranks: int,
    samples: int | None,
    price: float | None,
    json: bool,
) -> None:
    """Go through two steps of a script without its memory, for a card, all cards or this machine's processor."""
    if every_card and (gpu is not None or gpu_memory is not None):
        raise UsageError("--all asks about every card, and --gpu or --gpu-memory about one: leave one out")
    if every_card and price is not None:
        raise UsageError("--price is of one card: leave out --all, and name it with --gpu")
    on_cpu = gpu is not None and gpu.lower() == "cpu"
    if on_cpu and ranks > 1:
        raise UsageError("--gpu cpu is one process on this machine: leave out --ranks")
    from hotlap.estimate.device import device_of
    from hotlap.report import fits

    size = None if gpu_memory is None else as_bytes("--gpu-memory", gpu_memory)
    device = None if every_card or on_cpu else device_of(gpu, size)
    # They import torch, which a wrong card need not wait for.
    from hotlap.estimate.script.estimate import estimate_script, estimate_script_here
    from hotlap.estimate.script.followed import Launch

    with Progress() as progress:
        launch = Launch(command, device, followed_by, progress, on_cpu=on_cpu)
        if on_cpu:
            from hotlap.estimate.calibrated import calibration_here
            from hotlap.launch import environment
            from hotlap.launch.environment import usable_memory

            found = estimate_script_here(
                command,
                launch,
                calibration_here(environment().cpu),
                memory=size or usable_memory(),
                batch_size=batch_size,
                samples=samples,
                price=price,
            )
        else:
            found = estimate_script(
                command, launch, device, batch_size=batch_size, ranks=ranks, samples=samples, price=price
            )
    print_json(found) if json else print_view(fits.training(found))


def followed_by(command: list[str], directory: Path, asked: dict[str, Any]) -> Ended:
    """Start it with its files kept as they are, and wait for its end."""
    from hotlap.estimate.script.followed import Ended
    from hotlap.launch import Training
    from hotlap.launch.process import Plan

    # Compilers do not take imitations, and no card is asked anything, though there may be one.
    variables = {"TORCHDYNAMO_DISABLE": "1"} | ({"CUDA_VISIBLE_DEVICES": ""} if asked["card"] else {})
    plan = Plan(contained=True, silent=True, estimate=asked, variables=variables)
    with Training(command, directory, plan) as training:
        training.wait()
    info = training.run().info
    return Ended(info.outcome, info.reason or "", training.tail())
