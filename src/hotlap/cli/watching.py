"""The command that looks at a training while it runs."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hotlap.cli.options import Json, RunDir, app, checked_steps
from hotlap.errors import UsageError
from hotlap.terminal import as_seconds

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two looks at the least: a driver tells nothing new in less.
_SHORTEST = 0.1


@app.command
def watch(
    training: str | None = None,
    /,
    *,
    seconds: str = "0",
    interval: str = "1s",
    once: Annotated[bool, Parameter(negative="")] = False,
    planned_steps: int | None = None,
    run_dir: RunDir = None,
    json: Json = False,
) -> int:
    """Watch a training that runs: GPUs, processors, memory, disks, and its steps if hotlap started it.

    `hotlap watch`

    Means, peaks and a verdict follow at the end, which is when the training ends, the time is over or you press
    Ctrl-C. Where stdout is no terminal, each look is a line.

    Parameters
    ----------
    training
        The name of a run, its directory, or the number of a process. [default: the only training that runs]
    seconds
        Watch for so long, e.g. 60 or 10m; 0 is until the training ends or Ctrl-C, which then counts as done.
    interval
        Time between two looks.
    once
        Look once and print what is seen.
    planned_steps
        Steps of the whole training, for the time that is left. [default: what the training prints, as in "step 5/100"]
    json
        Print a line of JSON for each look, and one for the summary at the end.
    """
    from hotlap.watch import AsJson, AsLines, OnScreen, Sensors, View, closing, find, glance, screen, write_json
    from hotlap.watch import watch as watch_training

    lasts = 0.0 if seconds.strip() in ("0", "0s") else as_seconds("--seconds", seconds)
    apart = as_seconds("--interval", interval)
    if apart < _SHORTEST:
        raise UsageError(f"--interval {interval}: looks are at least {_SHORTEST:g} s apart")
    if once and lasts:
        raise UsageError("give either --once or --seconds: the one looks once, the other for some time")
    checked_steps("--planned-steps", planned_steps)
    found = find(training, run_dir)
    sensors = Sensors(found, planned_steps)
    header = screen.Header(found.name, found.pid, found.command)
    console = _console()
    if once:
        history = glance(found, sensors, apart)
        write_json(history.samples[-1]) if json else console.print(screen.glance(header, history, console.width))
        return 0
    view: View = AsLines()
    if json:
        view = AsJson()
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        view = OnScreen(console, header)
    summary, stopped_by = watch_training(found, sensors, view, seconds=lasts, interval=apart)
    if stopped_by != signal.SIGHUP:  # else nobody reads it
        write_json(summary) if json else console.print(closing.report(summary))
    if stopped_by is None or (stopped_by == signal.SIGINT and not lasts):
        return 0
    return 128 + stopped_by


def _console() -> Console:
    """For stdout. Where the locale says C by name, the terminal is not believed to show anything but ASCII."""
    from rich.console import Console

    named = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
    if named in ("C", "POSIX") and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="ascii", errors="replace")
    return Console(highlight=False)
