"""The errors that hotlap raises on purpose, and the exit code each of them carries.

    HotlapError                   2
    ├── UsageError                2   the command line or an argument makes no sense
    ├── ConfigError               2   a configuration file is wrong
    ├── RunError                  2   a run directory cannot be read or written
    ├── TrainingFailed            3   the training command failed, or cannot be measured
    └── FindingsPresent           1   a finding that `--fail-on` asked for is there

``cli.main`` catches ``HotlapError`` once, prints the message to stderr and leaves with ``exit_code``.
A message is one sentence or two: the value, the place, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_INTERRUPTED = 130


class HotlapError(Exception):
    exit_code = 2


class UsageError(HotlapError):
    """Wrong command line or argument."""


class ConfigError(HotlapError):
    """Wrong configuration file."""


class RunError(HotlapError):
    """A run directory is missing, unreadable, too new, or cannot be written."""


class TrainingFailed(HotlapError):
    """The training command failed, or did nothing that could be measured."""

    exit_code = 3


class FindingsPresent(HotlapError):
    """A finding or regression that ``--fail-on`` asked for is present."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
