"""``hotlap tune --dry-run``: what it asks for besides, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.errors import UsageError
from hotlap.terminal import Progress, as_bytes, print_json, print_view

if TYPE_CHECKING:
    from hotlap.estimate.device import Device
    from hotlap.tune.options import Options
    from hotlap.tune.target import Target


def check(dry: bool, gpu: str | None, gpu_memory: str | None, config: Path | None, report: Path | None) -> None:
    """Raises UsageError for a card where none is asked about, and for a page of what was not measured."""
    if dry and report is not None:
        raise UsageError("--report is the page of a tuning, and --dry-run measures nothing: leave one out")
    given = "--gpu" if gpu is not None else "--gpu-memory" if gpu_memory is not None else None
    if given is not None and not dry:
        raise UsageError(f"{given} is for --dry-run: a tuning measures on the machine that it runs on")
    if given is not None and config is None:
        raise UsageError(
            f"{given}: memory is estimated for a configuration of hotlap train, as in `hotlap tune "
            'configs/vrt_spike.yaml --dry-run --gpu "RTX 4090"`'
        )


def show(
    target: Target, options: Options, output: Path | None, gpu: str | None, gpu_memory: str | None, json: bool
) -> None:
    from hotlap.report import dry_run as views
    from hotlap.tune.dry_run import dry_run

    device = _device(target, gpu, gpu_memory)
    with Progress() as progress:
        found = dry_run(target, options, output=output, device=device, say=progress)
    print_json(found) if json else print_view(views.dry_run(found))


def _device(target: Target, gpu: str | None, gpu_memory: str | None) -> Device | None:
    """The card that was named, else this machine's; None where there is none."""
    from hotlap.estimate.device import device_of
    from hotlap.launch import environment

    if target.config is None:
        return None
    if gpu is None and gpu_memory is None:
        # A driver may know of a GPU that PyTorch has no build for.
        with suppress(UsageError):
            return device_of(None, None) if environment().gpus else None
        return None
    return device_of(gpu, None if gpu_memory is None else as_bytes("--gpu-memory", gpu_memory))
