"""The record of a training: ``log.jsonl`` for programs, and a line on stderr for people."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError


class Log:
    """Appends one JSON object a line; a line that was cut off by a crash is dropped on resume."""

    def __init__(self, folder: Path, total: int, start: int = 0) -> None:
        self._total = total
        self._width = 0
        self._began = time.monotonic()
        self._start = start
        path = folder / "log.jsonl"
        try:
            kept = _lines_until(path, start) if start and path.exists() else b""
            self._file = path.open("wb")
            self._file.write(kept)
        except OSError as error:
            raise RunError(f"cannot write {path} ({error.strerror}): choose another output_dir") from None

    def write(self, step: int, **values: Any) -> None:
        self._file.write(msgspec.json.encode({"step": step, **values}) + b"\n")
        self._file.flush()
        self._show(step, values)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._width:
            print(file=sys.stderr)

    def _show(self, step: int, values: dict[str, Any]) -> None:
        done = step - self._start
        left = (time.monotonic() - self._began) / done * (self._total - step) if done else 0.0
        figures = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        line = f"step {step}/{self._total}  {figures}  {left:.0f} s left"
        if sys.stderr.isatty() and "loss" in values:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print("\n" + line if self._width else line, file=sys.stderr, flush=True)
            self._width = 0


def _lines_until(path: Path, last: int) -> bytes:
    """The lines of an earlier part of this training, up to the checkpoint that it goes on from."""
    kept = b""
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if msgspec.json.decode(line)["step"] > last:
                break
        except (msgspec.DecodeError, KeyError, TypeError):
            break
        kept += line
    return kept


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
