"""Logs of trainings, read as they are: whatever program printed them.

files -> lines.Text -> blocks of clean lines -> what knows its lines takes them and hands the rest on:
    tracks.Track     lines of progress, by format (formats.FORMATS)
    bars.Bars        progress bars
    timing.Timings   blocks of named spans
    remarks.Remarks  settings, caches, evaluations, warnings
beside.take_settings -> settings that a log of ``hotlap train`` leaves to the file beside it
-> assemble.assemble -> Reading, in which each figure says where it is from -> diagnose.logs
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

from hotlap.errors import RunError, UsageError
from hotlap.read.assemble import assemble
from hotlap.read.beside import take_settings
from hotlap.read.lines import Source, Text
from hotlap.read.opening import is_trace, opened
from hotlap.read.state import State
from hotlap.records import Reading

__all__ = ["STDIN", "kind", "read"]

STDIN = Path("-")


def kind(path: Path) -> Literal["log", "trace"]:
    """Say what a file is by what is in it: a trace of the PyTorch profiler (JSON, maybe compressed), or a log."""
    if path == STDIN or not path.is_file():
        # A pipe can be read only once.
        return "log"
    return "trace" if is_trace(path) else "log"


def read(paths: Sequence[Path], *, batch_size: int | None = None, world_size: int | None = None) -> Reading:
    """Read the logs of one training, together.

    ``batch_size`` is that of a micro-batch on one rank; what is given wins over what is printed.

    Raises:
        RunError: a file cannot be read, or there is no line in any that is known.
        UsageError: a file is named twice.
    """
    twice = {str(path) for path in paths if list(paths).count(path) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))}: named twice, and would be counted twice")
    state = State()
    for path in paths:
        with _input(path) as file:
            state.read(Text(file, str(path)), "standard input" if path == STDIN else str(path))
        if path != STDIN:
            take_settings(state, path)
    if not state.understood:
        raise RunError(_nothing(state))
    return assemble(state, batch_size, world_size)


@contextmanager
def _input(path: Path) -> Iterator[Source]:
    if path == STDIN:
        yield cast("Source", sys.stdin.buffer)
        return
    if path.is_dir():
        raise RunError(f"{path} is a folder: name the log in it (a run of hotlap is shown by `hotlap report`)")
    with opened(path) as file:
        yield file


def _nothing(state: State) -> str:
    names = ", ".join(source.name for source in state.sources)
    if not any(source.bytes for source in state.sources):
        damaged = [note for source in state.sources for note in source.notes]
        if damaged:
            return f"{names}: nothing could be read ({damaged[0].partition(':')[0]}); copy it again"
        return f"{names}: there is nothing in it"
    return f"{names}: no line of it is of a format that hotlap knows (docs/logs.md lists them)"
