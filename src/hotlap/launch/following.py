"""Reading what somebody else is still writing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from hotlap.errors import RunError
from hotlap.launch.decoding import Decoder
from hotlap.records import SCHEMA

_CHUNK = 1 << 20
#: Chunks that are copied before something else is looked at; a pipe holds a part of one.
_AT_ONCE = 16
#: How the lines begin without which later ones mean nothing.
_LASTING = (b'{"k": "plan"', b'{"k": "start"')


class Follower:
    """Hands out what has been appended to a file since the last look. The file need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> bytes:
        if self._descriptor is None and not self.open():
            return b""
        assert self._descriptor is not None
        blocks = []
        while block := os.read(self._descriptor, _CHUNK):
            blocks.append(block)
        return b"".join(blocks)

    def open(self, last: int | None = None) -> bool:
        """Whether the file is there. Of what it holds by now, only so many ``last`` bytes will be handed out."""
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if last is not None:
            os.lseek(self._descriptor, max(0, os.fstat(self._descriptor).st_size - last), os.SEEK_SET)
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Lines:
    """The whole lines of a growing ``steps.jsonl``, decoded.

    Of what is there at the first look, steps are handed out from the ``last`` bytes alone, if given.
    """

    def __init__(self, path: Path, last: int | None = None) -> None:
        self._file = Follower(path)
        self._last = last
        self._partial = b""
        self._decoder = Decoder()

    def read(self) -> list[dict[str, Any]]:
        return self._decoder.decode(self.read_raw())

    def read_raw(self) -> list[dict[str, Any]]:
        """As they stand there, many steps in one."""
        head = b""
        if self._last is not None and self._file.open(self._last):
            head, self._last = _head(self._file.path, self._last), None
        *whole, self._partial = (self._partial + head + self._file.read()).split(b"\n")
        return records(whole, self._file.path)

    def close(self) -> None:
        self._file.close()


def _head(path: Path, last: int) -> bytes:
    """Of what is before the ``last`` bytes, the lines that those need."""
    kept = []
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - last
        while left > 0 and (line := file.readline()):
            left -= len(line)
            if line.startswith(_LASTING):  # of the last one the end is there a second time, and no record
                kept.append(line)
    return b"".join(kept)


def records(lines: list[bytes], path: Path) -> list[dict[str, Any]]:
    """The lines that are records; one that was cut off by a crash of the machine is left out.

    Raises:
        RunError: they were written by a newer hotlap.
    """
    found = []
    for line in lines:
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            try:
                record = json.loads(line)  # which knows NaN
            except ValueError:
                continue
            if b"\\ud" in line:  # half of a character, from a name of a file that is no text
                record = json.loads(json.dumps(record, ensure_ascii=False).encode(errors="replace"))
        if isinstance(record, dict) and "k" in record:
            if record.get("schema", 0) > SCHEMA:
                raise RunError(
                    f"{path} has schema {record['schema']}, written by a newer hotlap than this one, "
                    f"which reads up to {SCHEMA}: upgrade hotlap"
                )
            found.append(record)
    return found


class Tee:
    """Copies what comes out of a pipe to a file and to a stream of ours, as it comes, whatever the bytes are.

    A training that writes into a file itself would fail with a full disk. Through the pipe only the copy does.
    """

    #: What fits into the pipe between two looks; what prints more waits a moment, as for a terminal.
    _PIPE = 1 << 20

    def __init__(self, path: Path, stream: BinaryIO | None = None) -> None:
        self._end, self.input = os.pipe()
        os.set_blocking(self._end, False)
        with contextlib.suppress(OSError, AttributeError):  # more than this user may have, or not Linux
            fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, self._PIPE)
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._stream = stream

    def started(self) -> None:
        """The training has the end that is written to: let go of ours."""
        os.close(self.input)

    def copy(self) -> None:
        # A script may print faster than this can write; there is more to watch than its output.
        for _ in range(_AT_ONCE):
            try:
                data = os.read(self._end, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self._keep(data)
            with contextlib.suppress(OSError):  # nobody reads it any more, or its disk is full
                stream = self._stream or getattr(sys.stderr, "buffer", None)
                if stream is None:
                    sys.stderr.write(data.decode(errors="replace"))
                    continue
                sys.stderr.flush()
                stream.write(data)
                stream.flush()

    def _keep(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.close(self._file)
            self._file = None

    def close(self) -> None:
        os.close(self._end)
        if self._file is not None:
            os.close(self._file)
