"""A run as Weights & Biases keeps it on a disk, by its own package; nothing leaves the machine.

``wandb sync FOLDER`` is what uploads it, when the user says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from hotlap.errors import RunError
from hotlap.export.described import about, headline
from hotlap.export.scalars import points
from hotlap.records import Diagnosis, Run

#: Read by wandb before anything else: no upload, and no report of its own errors either.
_VARIABLES = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
#: What it would look at of the process that exports, which is not the training. Versions differ in what they know.
_QUIET: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
}


def write(run: Run, diagnosis: Diagnosis, folder: Path) -> tuple[Path, int]:
    """Write an offline run below ``folder/wandb``; return where it lies, and of how many steps it is.

    Raises:
        RunError: wandb is not installed, too old, or does not write there.
    """
    with _variables():
        wandb = _package()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = wandb.Settings.model_fields
            settings = wandb.Settings(**{name: value for name, value in _QUIET.items() if name in known})
            made = wandb.init(
                mode="offline",
                dir=str(folder),
                project="hotlap",
                name=run.info.name,
                config=about(run),
                settings=settings,
            )
            count = 0
            for step, _, values in points(run):
                made.log(values, step=step)
                count += 1
            made.summary.update(_summary(run, diagnosis))
            place = Path(made.dir).parent
            made.finish()
        except (OSError, wandb.Error) as error:
            raise RunError(f"wandb cannot write to {folder}: {error}") from error
    return place, count


def _summary(run: Run, diagnosis: Diagnosis) -> dict[str, Any]:
    found = {
        "hotlap/summary": headline(run, diagnosis),
        "hotlap/findings": ", ".join(finding.code for finding in diagnosis.findings),
        "hotlap/steady_step_seconds": diagnosis.step_seconds,
        "hotlap/steady_samples_per_second": diagnosis.throughput,
    }
    return {name: value for name, value in found.items() if value is not None}


def _package() -> Any:
    try:
        wandb = import_module("wandb")
    except ImportError:
        raise RunError(
            "wandb is not installed here, and only wandb writes its files: `pip install 'wandb>=0.19'`, or export to "
            "tensorboard, which needs nothing"
        ) from None
    if not hasattr(wandb.Settings, "model_fields"):
        raise RunError(f"wandb {wandb.__version__} is too old to be kept quiet: `pip install 'wandb>=0.19'`")
    return wandb


@contextmanager
def _variables() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(_VARIABLES)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
