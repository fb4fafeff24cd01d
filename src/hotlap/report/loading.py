"""From a path to the record that lies there.

a directory with result.json        a tuning          the file itself may be named instead
a directory with comparison.json    a comparison
a directory with run.json           a run             its steps are read beside it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.launch.rundir import read_run
from hotlap.records import SCHEMA, Comparison, Run, Tuning, read_record

_FILES = ("result.json", "comparison.json", "run.json")


def load(path: str | Path) -> Run | Tuning | Comparison:
    """Read a run, a tuning or a comparison from its directory or its file.

    Raises:
        RunError: nothing is there, it is none of the three, or it was written by a newer hotlap.
    """
    file = _file(Path(path))
    raw = _fields(file)
    try:
        if {"trials", "no_op", "adopted"} <= raw.keys():
            return read_record(file, Tuning)
        if {"a", "b", "effect"} <= raw.keys():
            return read_record(file, Comparison)
        if {"outcome", "started", "ended"} <= raw.keys():
            return read_run(file.parent)
    except (AttributeError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise RunError(
            f"{file.parent} cannot be read: steps.jsonl holds a line that no probe of this hotlap writes ({error!r}); "
            "record the run again"
        ) from error
    raise RunError(
        f"{file} is no record of hotlap: it is neither a run, nor a tuning, nor a comparison; "
        f"name a directory below .hotlap/runs, or its {', '.join(_FILES[:-1])} or {_FILES[-1]}"
    )


def _file(path: Path) -> Path:
    try:
        if not path.is_dir():
            if path.is_file():
                return path
            raise RunError(f"there is no {path}: name a directory below .hotlap/runs, or a record in it")
        for name in _FILES:
            if (path / name).is_file():
                return path / name
        unfinished = (path / "journal.jsonl").is_file()
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if unfinished:
        raise RunError(
            f"the tuning in {path} is not finished: give its `hotlap tune` command again, and it goes on from there"
        )
    if (path / "steps.jsonl").is_file():
        raise RunError(f"the run in {path} has not ended, or its hotlap was killed: it has no run.json")
    raise RunError(f"{path} holds no record of hotlap: it has none of {', '.join(_FILES)}")


def _fields(file: Path) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise RunError(f"{file} is no record of hotlap: {error}") from error
    schema = raw.get("schema", 0)
    if not isinstance(schema, int):
        raise RunError(f"{file} is no record of hotlap: its schema is {schema!r}, not a number")
    if schema > SCHEMA:
        raise RunError(
            f"{file} has schema {schema}, written by a newer hotlap than this one, which reads up to {SCHEMA}: "
            "upgrade hotlap"
        )
    return raw
