"""Records in files: read with their schema checked, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from hotlap.errors import RunError
from hotlap.records.effect import SCHEMA

Record = TypeVar("Record")


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON record, refusing a newer schema in plain words."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(raw, type=dict[str, Any]).get("schema", 0)
        if isinstance(schema, int) and schema > SCHEMA:
            raise RunError(
                f"{path} has schema {schema}, written by a newer hotlap than this one, which reads up to {SCHEMA}: "
                "upgrade hotlap"
            )
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise RunError(f"{path} is not a hotlap {kind.__name__.lower()} record: {error}") from error


def write_whole(path: Path, text: str | bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens."""
    with written_whole(path) as file:
        file.write(text.encode() if isinstance(text, str) else text)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written bit by bit, which takes its place when all of it is there.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; free some space or choose another place") from error


def write_record(path: Path, record: msgspec.Struct) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
