"""From a path to the record that lies there.

a directory with result.json      a tuning or a comparison    the file itself may be named instead
a directory with run.json         a run                       its steps are read beside it
a directory with journal.jsonl    none of them yet            the measurements of an unfinished one
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError, UsageError, did_you_mean
from hotlap.launch.rundir import DEFAULT_ROOT, read_run
from hotlap.records import SCHEMA, Comparison, Run, Tuning, read_record

_FILES = ("result.json", "run.json")


def load(path: str | Path) -> Run | Tuning | Comparison:
    """Read a run, a tuning or a comparison from its directory or its file.

    Raises:
        RunError: nothing is there, it is none of the three, or it was written by a newer hotlap.
    """
    file = _file(Path(path))
    raw = _fields(file)
    if {"trials", "no_op", "adopted"} <= raw.keys():
        return read_record(file, Tuning)
    if {"a", "b", "effect"} <= raw.keys():
        return read_record(file, Comparison)
    if {"outcome", "started", "ended"} <= raw.keys():
        return read_run(file.parent)
    raise RunError(
        f"{file} is no record of hotlap: it is neither a run, nor a tuning, nor a comparison; "
        f"name a directory below .hotlap/runs, or its {' or '.join(_FILES)}"
    )


def locate(target: Path, root: Path | None = None) -> Path:
    """Return where the record lies that ``target`` names: a path, or a name below ``root``.

    Raises:
        RunError: there is neither.
    """
    root = root or DEFAULT_ROOT
    try:
        path = target if target.exists() or not (root / target).is_dir() else root / target
        if not path.exists() and len(target.parts) == 1:
            names = [each.name for each in root.iterdir()] if root.is_dir() else []
            raise RunError(
                f"there is no run {target}: it is neither a path nor below {root}{did_you_mean(str(target), names)}"
            )
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {target}: {getattr(error, 'strerror', None) or error}") from error
    return path


def load_run(target: Path, root: Path | None = None) -> tuple[Run, Path]:
    """Read the run that ``target`` names: its directory, its run.json, or its name below ``root``; with its directory.

    Raises:
        UsageError: it is a tuning or a comparison, which holds several.
        RunError: nothing is there, it is no run, or it was written by a newer hotlap.
    """
    path = locate(target, root)
    record = load(path)
    directory = path if path.is_dir() else path.parent
    if isinstance(record, Run):
        return record, directory
    arms = sorted(each.parent for each in directory.glob("arms/*/run.json"))
    named = f", as in {arms[0]}" if arms else ", which lie in the directory that it was written to, below arms"
    kind = "tuning" if isinstance(record, Tuning) else "comparison"
    raise UsageError(f"{target} is a {kind}, which holds several runs: name one of its arms{named}")


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
        compared = path.absolute().name.startswith("compare-")
        what, command = ("comparison", "hotlap compare") if compared else ("tuning", "hotlap tune")
        raise RunError(
            f"the {what} in {path} is not finished: it has a journal.jsonl and no result.json. It was stopped, or a "
            f"training of it failed. Give its `{command}` command again, and it goes on from there"
        )
    if (path / "steps.jsonl").is_file():
        raise RunError(
            f"the run in {path} has steps.jsonl and no run.json, which says what ran: it was removed, or hotlap was "
            "killed as the run began; record the run again"
        )
    raise RunError(
        f"{path} holds no record of hotlap: looked for result.json (a tuning or a comparison), run.json (a run) and "
        "journal.jsonl (an unfinished tuning or comparison); name a directory below .hotlap/runs"
    )


def _fields(file: Path) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise RunError(
            f"{file} is no record of hotlap ({error}): name a directory below .hotlap/runs; logs and traces are for "
            "`hotlap read`"
        ) from error
    schema = raw.get("schema", 0)
    if not isinstance(schema, int):
        raise RunError(f"{file} is no record of hotlap: its schema is {schema!r}, not a number")
    if schema > SCHEMA:
        raise RunError(
            f"{file} has schema {schema}, written by a newer hotlap than this one, which reads up to {SCHEMA}: "
            "upgrade hotlap"
        )
    return raw
