"""What to type to measure it again."""

from __future__ import annotations

import shlex

from hotlap.records import Comparison, Environment, Run, Tuning
from hotlap.report import text


def run(run: Run) -> list[str]:
    """Return the commands; a run that hotlap ended, after so many steps or so much time, ends after as many steps."""
    info = run.info
    steps = f" --steps {len(run.steps)}" if info.outcome == "stopped" and run.steps else ""
    return [f"cd {shlex.quote(text.printable(info.cwd))}", f"hotlap profile{steps} -- {text.command(info.command)}"]


def tuning(tuning: Tuning) -> list[str]:
    goal = "" if tuning.goal == "throughput" else f" --goal {tuning.goal}"
    if tuning.config is not None:
        return [f"hotlap tune {shlex.quote(text.printable(tuning.config))}{goal} --fresh"]
    return [f"hotlap tune{goal} --fresh -- {text.command(tuning.command)}"]


def comparison(comparison: Comparison) -> list[str]:
    a, b = (shlex.quote(text.command(words)) for words in (comparison.a, comparison.b))
    return [f"hotlap compare --a {a} --b {b}"]


def versions(environment: Environment) -> str:
    """Return with what it was measured."""
    return f"hotlap {environment.hotlap}, torch {environment.torch or text.NA}, Python {environment.python}"
