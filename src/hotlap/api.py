"""The commands as functions: the same words, the same records, exceptions instead of exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hotlap.records import Comparison, Run, Tuning


def _quiet(message: str) -> None:
    pass


def profile(
    command: Sequence[str],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    run_dir: Path | None = None,
    show_output: bool = False,
) -> Run:
    """Run a training command with the probe inside and return its record.

    With ``steps`` or ``seconds`` the training is ended early and what it writes goes to the run directory;
    without, it runs to its end and writes its files as usual.
    """
    from hotlap.launch import Limits, Training, new_run_directory
    from hotlap.launch.process import Plan

    directory = new_run_directory("profile", run_dir)
    short = steps is not None or seconds is not None
    plan = Plan(stop_steps=steps, stop_seconds=seconds, contained=short)
    with Training(list(command), directory, plan, Limits(silence=86400.0), show_output=show_output) as training:
        training.wait()
    return training.run()


def tune(
    target: str | Path | Sequence[str],
    *,
    budget: float = 600.0,
    guard_steps: int = 120,
    run_dir: Path | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] = _quiet,
) -> Tuning:
    """Tune a configuration of the reference trainer (a path), or any training command (a list of words)."""
    from hotlap.tune.search import Options
    from hotlap.tune.search import tune as search
    from hotlap.tune.target import Target

    chosen = Target.of_config(Path(target)) if isinstance(target, (str, Path)) else Target.of_command(target)
    options = Options(budget=budget, guard_steps=guard_steps, run_dir=run_dir, fresh=fresh)
    return search(chosen, options, progress)[0]


def compare(
    a: Sequence[str], b: Sequence[str], *, run_dir: Path | None = None, progress: Callable[[str], None] = _quiet
) -> Comparison:
    """Say whether B is faster than A, and whether it is the same training."""
    from hotlap.tune.compare import compare as compare_commands

    return compare_commands(list(a), list(b), run_dir=run_dir, progress=progress)[0]


def report(path: str | Path) -> str:
    """Return the HTML page for a run, a tuning or a comparison."""
    from hotlap.report import load_report

    return load_report(Path(path))


def explain(code: str) -> str:
    """Return what a finding means, how it is measured and what to do about it, in Markdown."""
    from hotlap.diagnose import explain as explain_code

    return explain_code(code)


def train(config: str | Path) -> dict[str, object]:
    """Run a reference training."""
    from hotlap.train import main

    return main(config)


def run(tuning: Tuning, command: Sequence[str]) -> int:
    """Run a command for real with the adopted changes of a tuning; return its exit code."""
    from hotlap.launch import Limits, Training, new_run_directory
    from hotlap.launch.process import Plan

    levers = {key: value for change in tuning.adopted for key, value in change.inject.items()}
    directory = new_run_directory("run")
    plan = Plan(levers=levers, silent=True)
    with Training(list(command), directory, plan, Limits(silence=float(sys.maxsize)), show_output=True) as training:
        training.wait()
    assert training.exit is not None
    return int(training.exit["exit"] or 0)
