"""What a tuning or a comparison has already measured, so that one that was stopped goes on where it stopped.

A directory ``tune-FINGERPRINT-N`` with a journal and no ``result.json`` is unfinished, and so is one whose result says
so: what its budget had no time for may be measured by another. Lines are appended whole; a last line that was cut off
is forgotten and measured again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from hotlap.errors import RunError
from hotlap.launch.rundir import DEFAULT_ROOT, has_room, hide_from_git
from hotlap.records import Environment, differences

A = TypeVar("A")
T = TypeVar("T")


class Journal:
    def __init__(self, directory: Path, *, renewed: bool = False) -> None:
        """``renewed``: what has been spent before is no part of this budget."""
        self.directory = directory
        self.path = directory / "journal.jsonl"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            hide_from_git(directory)
            has_room(directory)
            self._file = open(self.path, "ab+")  # noqa: SIM115 (kept open: it holds the lock)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise RunError(f"{directory} is being filled by another hotlap; wait for it, or pass --run-dir") from None
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; choose another place with --run-dir"
            ) from error
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(self.path, len(whole))
        self.entries, self._spent = _read(whole)
        self._opened = time.monotonic()
        self.resumed = len(self.entries)
        if renewed:
            self._spent = 0.0

    def spent(self) -> float:
        """Seconds that all of it has taken; before it was stopped, up to the last measurement that was finished."""
        return self._spent + time.monotonic() - self._opened

    def changed_since(self, here: Environment) -> list[str]:
        """What is not as it was when the first measurement was made, each a sentence for the result's warnings."""
        then = self.once("environment", Environment, lambda: here)
        return [f"measured in several goes: {each}" for each in differences(then, here)]

    def once(self, key: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return the recorded value, or compute and record it."""
        return self.all_of({key: None}, kind, lambda missing: [compute()])[0]

    def all_of(self, keys: Mapping[str, A], kind: type[T], compute: Callable[[list[A]], list[T]]) -> list[T]:
        """Return the recorded values of these keys; compute those that are missing, together, and record them."""
        missing = {key: asked for key, asked in keys.items() if key not in self.entries}
        if missing:
            for key, value in zip(missing, compute(list(missing.values())), strict=True):
                self.record(key, value)
        return [self.value(key, kind) for key in keys]

    def value(self, key: str, kind: type[T]) -> T:
        return msgspec.convert(self.entries[key], kind)

    def record(self, key: str, value: Any) -> None:
        line = msgspec.json.encode({"key": key, "value": value, "spent": round(self.spent(), 3)}) + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; free some space and run the command again"
            ) from error
        self.entries[key] = json.loads(line)["value"]

    def close(self) -> None:
        self._file.close()


def _read(whole: bytes) -> tuple[dict[str, Any], float]:
    """Entries of whole lines, and the seconds that they took."""
    entries, spent = {}, 0.0
    for line in whole.splitlines():
        entry = json.loads(line)
        entries[entry["key"]] = entry["value"]
        spent = entry["spent"]
    return entries, spent


def recorded(directory: Path) -> dict[str, Any]:
    """What the journal in a directory holds; nothing where there is none, or where it cannot be read."""
    try:
        data = (directory / "journal.jsonl").read_bytes()
        return _read(data[: data.rfind(b"\n") + 1])[0]
    except (OSError, ValueError, LookupError):
        return {}


class JournalPlace(NamedTuple):
    """Where a measurement goes."""

    directory: Path
    #: An unfinished one of this name goes on there; its budget is a new one.
    resumes: bool
    renewed: bool
    #: Earlier ones of this name, the last first.
    earlier: list[Path]


def place_of(name: str, root: Path | None, fresh: bool) -> JournalPlace:
    """The last measurement of this name where it is unfinished, or a new one; nothing is made."""
    root = (root or DEFAULT_ROOT).absolute()
    numbers = [
        int(path.name.rpartition("-")[2]) for path in root.glob(f"{name}-*") if path.name[len(name) + 1 :].isdigit()
    ]
    last = root / f"{name}-{max(numbers, default=0)}"
    begun = (last / "journal.jsonl").exists()
    result = last / "result.json"
    renewed = result.exists() and not fresh and _unfinished(result)
    another = (result.exists() and not renewed) or (fresh and begun)
    if another:
        last = root / f"{name}-{max(numbers) + 1}"
    earlier = [root / f"{name}-{number}" for number in sorted(numbers, reverse=True)]
    return JournalPlace(last, resumes=begun and not another, renewed=renewed, earlier=earlier)


def open_journal(name: str, root: Path | None, fresh: bool) -> Journal:
    place = place_of(name, root, fresh)
    return Journal(place.directory, renewed=place.renewed)


def _unfinished(result: Path) -> bool:
    try:
        return json.loads(result.read_bytes()).get("unfinished") is True
    except (OSError, ValueError, AttributeError):
        return False
