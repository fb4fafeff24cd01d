"""What ``hotlap estimate -- COMMAND`` says of somebody's own script."""

from __future__ import annotations

from hotlap.errors import UsageError
from hotlap.terminal import Progress, as_bytes, print_json, print_view


def check_all(gpu: str | None, gpu_memory: str | None, price: float | None, *, all_gpus: bool) -> None:
    """Raises UsageError where one card and all of them are asked about."""
    if all_gpus and (gpu is not None or gpu_memory is not None):
        raise UsageError("--all asks about every card, and --gpu or --gpu-memory about one: leave one out")
    if all_gpus and price is not None:
        raise UsageError("--price is of one card: leave out --all, and name it with --gpu")


def estimate(
    command: list[str],
    gpu: str | None,
    gpu_memory: str | None,
    *,
    all_gpus: bool,
    batch_size: int | None,
    ranks: int,
    samples: int | None,
    price: float | None,
    json: bool,
) -> None:
    """Go through two steps of a script, and say what it needs."""
    from hotlap.estimate.scripts import Asked, check_command, estimate_script, estimate_script_here
    from hotlap.launch import environment
    from hotlap.report import fits

    check_all(gpu, gpu_memory, price, all_gpus=all_gpus)
    check_command(command)
    size = None if gpu_memory is None else as_bytes("--gpu-memory", gpu_memory)
    here = environment()
    asked = Asked(command, here)
    if gpu is not None and gpu.lower() == "cpu":
        if ranks > 1:
            raise UsageError("--gpu cpu is one process on this machine: leave out --ranks")
        from hotlap.estimate.calibrated import calibration_here
        from hotlap.estimate.times import here as timer_of
        from hotlap.launch.environment import usable_memory

        with Progress() as progress:
            try:
                calibration = calibration_here(here.cpu)
            except UsageError as error:
                calibration = None
                progress.say(f"no time is estimated: {error}")
            found = estimate_script_here(
                asked,
                memory=usable_memory() if size is None else size,
                timer=None if calibration is None else timer_of(calibration),
                machine=f"this machine's processor ({here.cpu})",
                batch_size=batch_size,
                samples=samples,
                price=price,
                say=progress,
            )
    else:
        from hotlap.estimate.device import device_of

        device = None if all_gpus else device_of(gpu, size)
        with Progress() as progress:
            found = estimate_script(
                asked, device, batch_size=batch_size, ranks=ranks, samples=samples, price=price, say=progress
            )
    print_json(found) if json else print_view(fits.training(found))
