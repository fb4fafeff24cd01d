"""Reading files that somebody else is still writing."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from hotlap.errors import RunError
from hotlap.launch.decoding import Decoder
from hotlap.records import SCHEMA

_CHUNK = 1 << 20


class Follower:
    """Hands out what has been appended to a file since the last look. The file need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        blocks = []
        while block := os.read(self._descriptor, _CHUNK):
            blocks.append(block)
        return b"".join(blocks)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Lines:
    """The whole lines of a growing ``steps.jsonl``, decoded."""

    def __init__(self, path: Path) -> None:
        self._file = Follower(path)
        self._partial = b""
        self._decoder = Decoder()

    def read(self) -> list[dict[str, Any]]:
        *whole, self._partial = (self._partial + self._file.read()).split(b"\n")
        return self._decoder.decode(records(whole, self._file.path))

    def close(self) -> None:
        self._file.close()


def records(lines: list[bytes], path: Path) -> list[dict[str, Any]]:
    """The lines that are records; one that was cut off by a crash of the machine is left out.

    Raises:
        RunError: they were written by a newer hotlap.
    """
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "k" in record:
            if record.get("schema", 0) > SCHEMA:
                raise RunError(
                    f"{path} has schema {record['schema']}, written by a newer hotlap than this one, "
                    f"which reads up to {SCHEMA}: upgrade hotlap"
                )
            found.append(record)
    return found


class Tee:
    """Copies a growing ``output.log`` to a stream of ours, as it comes, whatever the bytes are."""

    def __init__(self, path: Path, stream: BinaryIO | None = None) -> None:
        self._file = Follower(path)
        self._stream = stream

    def copy(self) -> None:
        data = self._file.read()
        if not data:
            return
        with contextlib.suppress(BrokenPipeError):
            stream = self._stream or getattr(sys.stderr, "buffer", None)
            if stream is None:
                sys.stderr.write(data.decode(errors="replace"))
                return
            sys.stderr.flush()
            stream.write(data)
            stream.flush()

    def close(self) -> None:
        self._file.close()
