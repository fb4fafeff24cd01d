"""The command line: one function a command, whose docstring is the help.

    argv ──> split at `--` ──> cyclopts (before it)  +  the training command (after it) ──> the command's function
                                                                                             └─> exit code

Results go to stdout, progress and errors to stderr. Nothing here imports torch, but for ``hotlap train``,
``hotlap verify``, and ``hotlap estimate`` of a configuration.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence

import cyclopts

from hotlap.cli import (  # noqa: F401  (they enter themselves into the application)
    commands,
    comparing,
    configurations,
    estimates,
    exports,
    reading,
    reads,
    trainings,
    watching,
)
from hotlap.cli.options import app
from hotlap.errors import EXIT_INTERRUPTED, HotlapError, UsageError

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(_main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(words: list[str]) -> int:
    own, training = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, None)
    try:
        function, bound, unparsed = app.parse_args(own, exit_on_error=False, print_error=False)
        if "command" in unparsed:
            bound.arguments["command"] = training
        elif training is not None:
            instead = ', but --a "python train.py" --b "python train.py --other"' if own[:1] == ["compare"] else ""
            raise UsageError(f"{own[0] if own else 'hotlap'} takes no training command after `--`{instead}")
        code = function(*bound.args, **bound.kwargs)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except cyclopts.CycloptsError as error:
        return _fail(_plain(error, own, training), 2)
    except HotlapError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        resumes = own[:1] in (["tune"], ["compare"])
        go_on = "; the same command goes on from here" + " without --fresh" * ("--fresh" in own)
        return _fail("interrupted" + go_on * resumes, EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Nobody reads the output any more, as in `hotlap explain | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _plain(error: cyclopts.CycloptsError, own: list[str], training: list[str] | None) -> str:
    command = own[0] if own else ""
    message = " ".join(str(error).split())
    if isinstance(error, cyclopts.UnusedCliTokensError) and training is None and command in ("profile", "tune", "run"):
        words = shlex.join(_loose_words(own, error.unused_tokens or []))
        trains = "hotlap train " * words.endswith((".yaml", ".yml"))
        return f"{words}: a training command comes after `--`, as in `hotlap {command} -- {trains}{words}`"
    known = f" {command}" if command in app else ""
    return f"{message} (see `hotlap{known} --help`)"


def _loose_words(own: list[str], unused: Sequence[str]) -> list[str]:
    """The words that nothing takes, with those right before them that were taken for a configuration."""
    first = own.index(unused[0]) if unused and unused[0] in own else len(own)
    while first > 1 and not own[first - 1].startswith("-") and not own[first - 2].startswith("-"):
        first -= 1
    return own[first:]


def _fail(message: str, code: int) -> int:
    print(f"hotlap: {message}", file=sys.stderr)
    return code
