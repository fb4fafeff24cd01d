"""A recorded run where people already look: in trace viewers, monitoring, and trackers of experiments.

    Run ──perfetto──> trace of the phases of each step          Diagnosis ──prometheus──> text for node_exporter
        ──scalars──> points ──tensorboard, offline_wandb, table──> files
                            ──export_to──> anything with ``log(values, step=...)``

Nothing here sends anything anywhere.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from hotlap.diagnose import diagnose
from hotlap.errors import UsageError
from hotlap.export import offline_wandb, perfetto, prometheus, scalars, table, tensorboard
from hotlap.records import Run, written_whole

__all__ = ["FORMATS", "Exported", "Format", "default_place", "export", "export_to"]

Format = Literal["perfetto", "prometheus", "tensorboard", "wandb", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_PLACES: dict[Format, str] = {
    "perfetto": "perfetto.json.gz",
    "prometheus": "hotlap.prom",
    "tensorboard": "tensorboard",
    "wandb": "",  # wandb makes a folder of its name
    "csv": "steps.csv",
}


class Exported(NamedTuple):
    path: Path
    #: Of how many steps it tells.
    steps: int


def default_place(to: Format, directory: Path) -> Path:
    """Return the file, or for TensorBoard and W&B the folder, that an export goes to if nobody says otherwise."""
    return directory / _PLACES[to]


def export(run: Run, directory: Path, to: Format, place: Path) -> Exported:
    """Write a run that was read from ``directory``. ``place`` is a file, for TensorBoard and W&B a folder.

    Raises:
        TrainingFailed: it has no step, so that there is nothing to export.
        RunError: it cannot be written, or a package is missing.
    """
    diagnosis = diagnose(run)
    if to == "wandb":
        return Exported(*offline_wandb.write(run, diagnosis, place))
    if to == "tensorboard":
        place = place / tensorboard.file_name(run)
    with written_whole(place) as file:
        if to == "tensorboard":
            tensorboard.write(run, diagnosis, file)
        elif to == "prometheus":
            file.write(prometheus.render(run, diagnosis).encode())
        elif to == "csv":
            table.write(run, file)
        elif place.suffix == ".gz":
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
                perfetto.write(run, directory, packed)
        else:
            perfetto.write(run, directory, file)
    return Exported(place, len(run.steps))


def export_to(run: Run, logger: Any) -> int:
    """Hand every step to ``logger.log(values, step=...)``, or to ``logger`` itself where it is a function.

    Returns how many calls that took. See ``scalars`` for the names.

    Raises:
        UsageError: it is neither.
    """
    log: Callable[..., Any] | None = getattr(logger, "log", None) or (logger if callable(logger) else None)
    if not callable(log):
        raise UsageError(f"{type(logger).__name__} has no log(values, step=...) and is no function")
    count = 0
    for step, _, values in scalars.points(run):
        log(values, step=step)
        count += 1
    return count
