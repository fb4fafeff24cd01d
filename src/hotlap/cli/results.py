"""What the commands that measure share: how long they may, and where what they found lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.terminal import as_bytes, as_seconds

if TYPE_CHECKING:
    from hotlap.tune.options import Options


def tuning_options(budget: str, memory_limit: str | None, run_dir: Path | None, fresh: bool) -> Options:
    from hotlap.launch.process import Limits
    from hotlap.tune.options import Options

    limits = Limits(memory=None if memory_limit is None else as_bytes("--memory-limit", memory_limit))
    return Options(budget=as_seconds("--budget", budget), run_dir=run_dir, fresh=fresh, limits=limits)


def write_page(place: Path | None, directory: Path) -> None:
    if place is not None:
        from hotlap.records import write_whole
        from hotlap.report import load_report

        write_whole(place, load_report(directory))


def short(path: Path) -> str:
    """Relative to the working directory, where the path is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
