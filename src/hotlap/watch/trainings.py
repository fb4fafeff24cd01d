"""Which training is watched: one that is named, or the only one that runs.

A process trains as far as we can see when torch is loaded in it. Of those that descend from one another the first is
the training: the others are its ranks, workers and helpers. A hotlap that records the training has put the place of
the record into its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hotlap.errors import RunError, UsageError, did_you_mean
from hotlap.launch import guardian
from hotlap.launch.rundir import DEFAULT_ROOT, UNFINISHED
from hotlap.records import RunInfo, read_record
from hotlap.report import text
from hotlap.watch.proc import ancestors, said, variable

_SETTINGS = "HOTLAP_PROBE"
_TORCH = b"libtorch"


class Training(NamedTuple):
    pid: int
    command: list[str]
    #: Where its record is written; None where hotlap did not start it.
    directory: Path | None

    @property
    def name(self) -> str:
        return self.directory.name if self.directory is not None else f"process {self.pid}"


def find(target: str | None, root: Path | None) -> Training:
    """Return the training that ``target`` names: a run, its directory, or a process; without one, the only one.

    Raises:
        UsageError: there is none, or several and none was named.
        RunError: the run is over.
    """
    if target is None:
        return _only(running())
    if target.isdecimal() and not Path(target).exists():
        return _process(int(target))
    return _run(target, root or DEFAULT_ROOT)


def running() -> list[Training]:
    """All trainings that can be seen, the oldest process number first."""
    own = {os.getpid(), *ancestors(os.getpid())}
    found = [pid for pid in _processes() if pid not in own and _trains(pid)]
    return [_training(pid) for pid in sorted(found) if not found_above(pid, found)]


def found_above(pid: int, found: list[int]) -> bool:
    return any(parent in found for parent in ancestors(pid))


def outcome(directory: Path) -> tuple[str, str | None]:
    """How a run that is over has ended, and the reason; what nobody has written yet is ``ended``."""
    try:
        info = read_record(directory / "run.json", RunInfo)
    except RunError:
        return "ended", None
    unknown = (info.outcome, info.reason) == UNFINISHED
    return ("ended", None) if unknown else (info.outcome.replace("_", " "), info.reason)


def _only(trainings: list[Training]) -> Training:
    if not trainings:
        raise UsageError(
            "no running training was found: start one in another terminal with `hotlap profile -- python train.py`, "
            "or give the process to watch, as in `hotlap watch 1234`"
        )
    if len(trainings) > 1:
        names = [str(each.pid if each.directory is None else each.directory.name) for each in trainings]
        width = max(map(len, names))
        rows = [
            f"  hotlap watch {name:{width}}  {text.shorten(' '.join(text.command(each.command).split()), 60)}"
            for name, each in zip(names, trainings, strict=True)
        ]
        raise UsageError("\n".join([f"{len(trainings)} trainings are running; say which one:", *rows]))
    return trainings[0]


def _process(pid: int) -> Training:
    if not Path(f"/proc/{pid}").is_dir():
        raise UsageError(f"there is no process {pid}: `hotlap watch` alone looks for a training that runs")
    return _training(pid)


def _run(target: str, root: Path) -> Training:
    directory = next((path for path in (Path(target), root / target) if path.is_dir()), None)
    if directory is None:
        known = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
        hint = did_you_mean(target, known) or "; `hotlap watch` alone looks for a training that runs"
        raise UsageError(f"there is no run {target!r} in {root}{hint}")
    settings = (directory / "probe.json").resolve()
    of_run = [pid for pid in _processes() if _settings(pid) == settings and not _is_guardian(pid)]
    first = next((pid for pid in sorted(of_run) if not found_above(pid, of_run)), None)
    if first is not None:
        return _training(first)
    if not (directory / "run.json").exists():
        raise RunError(f"{directory} is no run directory: it has no run.json")
    how, _ = outcome(directory)
    raise RunError(f"the run {directory.name} is over ({how}): `hotlap report {directory}` shows what was recorded")


def _training(pid: int) -> Training:
    command = [word.decode(errors="replace") for word in said(pid, "cmdline").split(b"\0")[:-1]]
    settings = _settings(pid)
    return Training(pid, command, None if settings is None else settings.parent)


def _trains(pid: int) -> bool:
    return _is_python(pid) and _TORCH in said(pid, "maps")


def _is_python(pid: int) -> bool:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python")
    except OSError:
        return False


def _is_guardian(pid: int) -> bool:
    return os.fsencode(guardian.__file__) in said(pid, "cmdline").split(b"\0")


def _settings(pid: int) -> Path | None:
    path = variable(pid, _SETTINGS)
    return None if path is None else Path(os.fsdecode(path)).resolve()


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())
