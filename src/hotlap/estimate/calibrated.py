"""Where the calibration of this machine is kept: ``hotlap/calibration-THREADS.json`` in the user's cache directory.

$XDG_CACHE_HOME or ~/.cache     one file for each number of threads; another processor or torch: measure again
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import torch

from hotlap.errors import UsageError
from hotlap.estimate.calibration import calibrate
from hotlap.records import Calibration, read_record, write_record


def path_of(threads: int) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "hotlap" / f"calibration-{threads}.json"


def calibrate_here(
    cpu: str, pressure: float | None, say: Callable[[str], None], *, threads: int | None = None
) -> tuple[Calibration, Path]:
    """Measure this machine and keep what was found. ``cpu``: its name. Raises RunError where it cannot be kept."""
    if threads:
        torch.set_num_threads(threads)
    threads, began = torch.get_num_threads(), time.monotonic()
    rates = calibrate(say)
    found = Calibration(
        cpu=cpu,
        threads=threads,
        torch=str(torch.__version__),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        pressure=pressure,
        rates=rates,
    )
    path = path_of(threads)
    write_record(path, found)
    return found, path


def calibration_here(cpu: str, threads: int = 0) -> Calibration:
    """That of this machine, for so many threads; 0: as many as torch takes.

    Raises UsageError where it was not measured, or on another processor or with another torch.
    """
    threads = threads or torch.get_num_threads()
    path = path_of(threads)
    again = (
        f"measure it with `hotlap estimate --calibrate{f' --threads {threads}' * (threads != torch.get_num_threads())}`"
    )
    if not path.is_file():
        raise UsageError(f"this machine was not measured with so many threads ({threads}): {again}")
    found = read_record(path, Calibration)
    if (found.cpu, found.torch) != (cpu, str(torch.__version__)):
        raise UsageError(
            f"{path} is of {found.cpu} with torch {found.torch}, and this is {cpu} with {torch.__version__}: {again}"
        )
    return found
