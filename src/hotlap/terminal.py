"""What the command line prints, asks and parses: progress, results, times, sizes, output files."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.status import Status

from hotlap.errors import RunError, UsageError

_NUMBER = r"\d+(?:\.\d+)?"
_TIME = re.compile(
    rf"(?:(?P<h>{_NUMBER})\s*h\s*)?(?:(?P<m>{_NUMBER})\s*m(?:in)?\s*)?(?:(?P<s>{_NUMBER})\s*s)?|(?P<bare>{_NUMBER})"
)
_BYTES = {"": 1, "B": 1, "MB": 10**6, "MIB": 2**20, "GB": 10**9, "GIB": 2**30, "TB": 10**12, "TIB": 2**40}


class Progress:
    """Lines on stderr as things happen, with the seconds since the start; a spinner beside them on a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.began = time.monotonic()
        self.status: Status | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.status = self.console.status("starting")
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, message: str) -> None:
        self.say(f"[{time.monotonic() - self.began:5.0f} s] {message}")
        if self.status is not None:
            self.status.update(message)

    def say(self, message: str) -> None:
        self.console.print(message, markup=False)


def print_view(view: RenderableType) -> None:
    Console(highlight=False).print(view)


def print_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def may_write(option: str, path: Path | None, *, force: bool) -> None:
    """Refuse before anything is measured what could not be written at the end.

    Raises:
        UsageError: the file exists and may not be replaced.
        RunError: its folder does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already: give another file with {option}, or replace it with --force")
    if not path.absolute().parent.is_dir():
        raise RunError(f"{path.parent} is not a folder: make it, or choose another place for {path.name}")


def as_seconds(option: str, text: str) -> float:
    """Parse ``90``, ``90s``, ``10m``, ``1.5h`` or ``2m30s``.

    Raises:
        UsageError: it is none of these.
    """
    match = _TIME.fullmatch(text.strip().lower())
    hours, minutes, seconds = (float(part or 0) for part in match.group("h", "m", "s")) if match else (0.0, 0.0, 0.0)
    seconds += 3600 * hours + 60 * minutes + float((match and match["bare"]) or 0)
    if not seconds:
        raise UsageError(f"{option} {text}: give a time such as 90s, 10m, 1h or 2m30s")
    return seconds


def as_bytes(option: str, text: str) -> int:
    """Parse ``8GiB``, ``8 GB`` or ``512MiB``.

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in _BYTES or float(match[1]) <= 0:
        raise UsageError(f"{option} {text}: give a size such as 8GiB or 512MiB")
    return int(float(match[1]) * _BYTES[match[2].upper()])
