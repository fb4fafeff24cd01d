"""What a user may write: the application, the options that several commands share, and training commands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import hotlap
from hotlap.errors import UsageError

app = App(
    name="hotlap",
    version=hotlap.__version__,
    help="Find out why your PyTorch training is slow, make it fast, and prove it.\n\n"
    "`--` separates hotlap's own options from the training command.",
    help_format="markdown",
)

#: What stands after `--`. None where there is no `--`.
Command = Annotated[list[str] | None, Parameter(parse=False)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]
RunDir = Annotated[
    Path | None,
    Parameter(name="--run-dir", help="Where run directories go. [default: .hotlap/runs]", show_default=False),
]
Page = Annotated[Path | None, Parameter(help="Write the HTML page to this file, too.")]
Force = Annotated[bool, Parameter(negative="", help="Replace output files that exist.")]
Fresh = Annotated[bool, Parameter(negative="", help="Measure anew what an unfinished run of this has measured.")]
Budget = Annotated[str, Parameter(help="Time for all of it, e.g. 90s, 2m30s, 1h.")]
MemoryLimit = Annotated[
    str | None, Parameter(help="End a training whose processes hold more than this together, e.g. 8GiB.")
]


def checked_steps(option: str, steps: int | None) -> int | None:
    """Return the steps of a training.

    Raises:
        UsageError: there are none.
    """
    if steps is not None and steps < 1:
        raise UsageError(f"{option} {steps}: a training has at least one step")
    return steps


def training_words(command: list[str] | None, example: str) -> list[str]:
    """Return the training command, which stood after `--` as in ``example``.

    Raises:
        UsageError: there is none.
    """
    if not command:
        raise UsageError(f"there is no training command: write it after `--`, as in `{example}`")
    return command


def quoted_words(option: str, command: str) -> list[str]:
    """Split a training command that was given in quotes, as a shell does.

    Raises:
        UsageError: it is empty, or a quotation in it does not end.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{option} {command!r}: {error}") from None
    if not words:
        raise UsageError(f'{option} is empty: give it a training command in quotes, as in {option} "python train.py"')
    return words
