"""`hotlap compare`: of two commands, measured in turns, or of two runs that were recorded before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from hotlap.cli.options import Budget, Force, Fresh, Json, MemoryLimit, Page, RunDir, app, quoted_words
from hotlap.cli.results import short, tuning_options, write_page
from hotlap.errors import FindingsPresent, UsageError
from hotlap.records import Judgement, Run
from hotlap.terminal import Progress, may_write, print_json, print_view

_BUDGET = "10m"
#: Cases of ``--fail-on``.
_REGRESSIONS = ("regression", "slower", "not-faster", "other-training")


@app.command(
    usage='Usage: hotlap compare [OPTIONS] --a "COMMAND" --b "COMMAND"\n       hotlap compare [OPTIONS] RUN RUN'
)
def compare(
    *runs: Path,
    a: str | None = None,
    b: str | None = None,
    budget: Budget = _BUDGET,
    report: Page = None,
    force: Force = False,
    fail_on: Annotated[
        str | None,
        Parameter(
            help="Leave with exit code 1 if B is one of: regression (slower, or another training; unclear counts where "
            "the median pair is slower by more than 2%), slower, not-faster (unclear counts), other-training (not "
            "shown to be the same counts)."
        ),
    ] = None,
    memory_limit: MemoryLimit = None,
    fresh: Fresh = False,
    run_dir: RunDir = None,
    json: Json = False,
) -> None:
    """Say whether command B really trains faster than command A, and whether it is the same training.

    Both are started in pairs of fresh processes and run in alternating blocks:

    `hotlap compare --a "python train.py" --b "python train.py --amp"`

    Two runs that were recorded before can be set side by side, which measures nothing and proves nothing:

    `hotlap compare profile-20260101-0900 profile-20260102-0900`

    Parameters
    ----------
    runs
        Names, directories or run.json of two runs.
    a
        The first training command, in quotes.
    b
        The second training command, in quotes.
    """
    from hotlap.tune.compare import compare as compare_commands
    from hotlap.tune.compare import regression

    cases = [case.strip() for case in (fail_on or "").split(",") if case.strip()]
    for case in cases:
        if case not in _REGRESSIONS:
            raise UsageError(f"--fail-on {case}: use one or more of {', '.join(_REGRESSIONS)}")
    if runs:
        given: dict[str, object] = {"--a": a, "--b": b, "--report": report, "--memory-limit": memory_limit}
        given |= {"--force": force or None, "--fresh": fresh or None}
        given |= {"--budget": None if budget == _BUDGET else budget}
        measuring = [option for option, value in given.items() if value is not None]
        if measuring:
            raise UsageError(f"{', '.join(measuring)}: for two commands that are measured, not for stored runs")
        _compare_stored(runs, cases, run_dir, json)
        return
    may_write("--report", report, force=force)
    if a is None or b is None:
        raise UsageError("give two training commands with --a and --b, in quotes, or name two stored runs")
    commands = quoted_words("--a", a), quoted_words("--b", b)
    options = tuning_options(budget, memory_limit, run_dir, fresh)
    with Progress() as progress:
        comparison, directory = compare_commands(*commands, options, progress)
    if json:
        print_json(comparison)
    else:
        from hotlap.report import terminal

        print_view(terminal.comparison(comparison))
    write_page(report, directory)
    progress.say(f"result: {short(directory / 'result.json')}")
    _refuse("", cases, comparison.judgement, comparison.same_training.same)
    reason = regression(comparison)
    if "regression" in cases and reason is not None:
        shown = comparison.judgement == "slower" or comparison.same_training.same is False
        raise FindingsPresent(f"B {'is' if shown else 'may be'} a regression, which --fail-on asked for: {reason}")


def _compare_stored(runs: Sequence[Path], cases: Sequence[str], run_dir: Path | None, json: bool) -> None:
    """Print what differs between two stored runs; ``cases`` are those of ``--fail-on``.

    Raises:
        FindingsPresent: one of the cases is there.
        UsageError: there are not two runs, or they are the same.
    """
    from hotlap.report import stored as shown
    from hotlap.report.loading import load_run
    from hotlap.tune.statistics import MINIMUM_GAIN
    from hotlap.tune.stored import compare_stored, regression

    if len(runs) != 2:
        raise UsageError(
            f"compare takes two stored runs, and there {'is one' if len(runs) == 1 else f'are {len(runs)}'}"
        )
    (a, one), (b, other) = (load_run(run, run_dir) for run in runs)
    if one.resolve() == other.resolve():
        raise UsageError(f"{runs[0]} and {runs[1]} are the same run")
    comparison = compare_stored(_masked(a), _masked(b))
    print_json(comparison) if json else print_view(shown.stored(comparison))
    _refuse("recorded as ", cases, comparison.judgement, comparison.same_losses)
    reason = regression(comparison, MINIMUM_GAIN)
    if "regression" in cases and reason is not None:
        raise FindingsPresent(f"B may be a regression, which --fail-on asked for: {reason}")


def _refuse(how: str, cases: Sequence[str], judgement: Judgement, same: bool | None) -> None:
    seen = [judgement.replace(" ", "-")]
    seen += ["not-faster"] if judgement in ("slower", "unclear") else []
    seen += ["other-training"] if same is not True else []
    there = [case for case in cases if case in seen]
    if there:
        raise FindingsPresent(f"B is {how}{' and '.join(there)}, which --fail-on asked for")


def _masked(run: Run) -> Run:
    """What is compared goes into JSON, too, so secrets are masked before."""
    from hotlap.report.secrets import mask, mask_prose

    info = run.info
    changes = mask([f"{name}={value}" for name, value in info.changes.items()])
    shown = {name: value for name, _, value in (each.partition("=") for each in changes)}
    reason = None if info.reason is None else mask_prose(info.reason)
    info = msgspec.structs.replace(info, command=mask(info.command), changes=shown, reason=reason)
    return msgspec.structs.replace(run, info=info)
