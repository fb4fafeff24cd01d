"""What a tuning would do, said without doing it: nothing that trains is started, nothing of the script's is imported.

command or configuration ──> what is recognised ──> a record of the same, if there is one ──> changes (``foreseen``)
                                                 ──> the budget's division, and what is written where
configuration and a card ──> a step with each change that moves memory, imitated ──> what does not fit is not tried
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hotlap.changes import Situation
from hotlap.diagnose import Machine, diagnose
from hotlap.errors import HotlapError
from hotlap.launch import environment
from hotlap.launch.rundir import DEFAULT_ROOT, read_run
from hotlap.records import (
    Diagnosis,
    Division,
    DryRun,
    Environment,
    Facts,
    Fits,
    Foreseen,
    Output,
    RunInfo,
    SeenBefore,
    differences,
    read_record,
)
from hotlap.tune import foreseen
from hotlap.tune.arguments import ranks
from hotlap.tune.conclusions import shown
from hotlap.tune.costs import RESERVED, SHARE_OF_A_TRIAL, reserved
from hotlap.tune.journal import JournalPlace, place_of, recorded
from hotlap.tune.options import Options, name_of
from hotlap.tune.paces import Pace
from hotlap.tune.proof import first_look_seconds
from hotlap.tune.room import MOVES_MEMORY, memory_limit
from hotlap.tune.target import Target, python_of
from hotlap.tune.work import Baseline

if TYPE_CHECKING:
    from hotlap.estimate.device import Device

Say = Callable[[str], None]


class _Record(NamedTuple):
    """What was seen of the same training."""

    directory: Path
    date: str
    diagnosis: Diagnosis
    facts: Facts
    machine: Machine
    environment: Environment
    first_step: float | None


def dry_run(
    target: Target, options: Options, *, output: Path | None = None, device: Device | None = None, say: Say
) -> DryRun:
    """``device``: the card that memory is estimated for, of a configuration; None: no estimate is made.

    Raises:
        CannotBeTraced: the memory of the configuration cannot be estimated.
    """
    target.check()
    here = environment()
    place = place_of(name_of(target, options, here), options.run_dir, options.fresh)
    record = _record(target, options.run_dir, place)
    there = here
    if device is not None and not here.gpus:
        # As on a machine with this card, of which a record of another tells nothing.
        there = msgspec.structs.replace(here, gpus=[device.name])
        record = None if record is None or record.facts.device in (None, "cpu") else record
    situation = _situation(target, options, there, record)
    changes = foreseen.foreseen(
        situation,
        options.asked,
        least_gain=options.minimum,
        other_trainings=options.quality is not None or options.goal == "time-to-quality",
    )
    changes = [msgspec.structs.replace(each, by_key=target.has_keys(each.change)) for each in changes]
    fits = None if device is None else _fits(target, changes, device, say)
    if fits is not None:
        changes = _fitting(changes, fits)
    return DryRun(
        command=target.command,
        config=target.config,
        environment=here,
        goal=options.goal,
        recognised=target.told(),
        before=None if record is None else _before(record, here),
        least_gain=options.minimum,
        division=_division(options.budget, record),
        planned_steps=options.planned_steps,
        memory_limit=options.limits.memory,
        changes=changes,
        excluded=foreseen.excluded(changes),
        fits=fits,
        no_fits=None if fits is not None else _no_fits(target),
        resumes=place.resumes,
        writes=list(_writes(place.directory, output)),
        untouched=sorted(map(shown, target.files())),
    )


def _situation(target: Target, options: Options, here: Environment, record: _Record | None) -> Situation:
    if record is None:
        words = target.command
        importable = [name for name in foreseen.LIBRARIES if _importable(python_of(words), name)]
        return foreseen.unseen(target.keys, here, importable, ranks(words), options.goal)
    return Situation(
        diagnosis=record.diagnosis,
        facts=record.facts,
        environment=here,
        machine=record.machine,
        keys=target.keys,
        goal=options.goal,
        memory_limit=memory_limit(options.limits.memory, record.facts, here, record.machine),
    )


def _record(target: Target, root: Path | None, place: JournalPlace) -> _Record | None:
    """The baseline of a tuning of the same, else the latest profile that has steps."""
    for directory in place.earlier:
        entries = recorded(directory)
        with suppress(KeyError, msgspec.ValidationError):
            baseline = msgspec.convert(entries["baseline"], Baseline)
            return _Record(
                directory,
                datetime.fromtimestamp(directory.stat().st_mtime, timezone.utc).isoformat(timespec="seconds"),
                baseline.diagnosis,
                baseline.facts,
                msgspec.convert(entries.get("machine", {}), Machine),
                msgspec.convert(entries["environment"], Environment),
                baseline.first_step,
            )
    for directory, info in _profiles(target, (root or DEFAULT_ROOT).absolute()):
        with suppress(HotlapError):  # no steps, or of another version
            run = read_run(directory)
            first = run.steps[0].t + run.steps[0].wall - info.started if run.steps else None
            return _Record(directory, info.date, diagnose(run), run.facts, Machine(), info.environment, first)
    return None


def _profiles(target: Target, root: Path) -> list[tuple[Path, RunInfo]]:
    """Profiles of the same command from the same folder, the last first."""
    found = []
    for path in root.glob("profile-*/run.json"):
        with suppress(HotlapError):
            info = read_record(path, RunInfo)
            if Path(info.cwd) == Path.cwd() and not info.changes and _same(target, info.command):
                found.append((path.parent, info))
    return sorted(found, key=lambda each: each[1].date, reverse=True)


def _same(target: Target, words: Sequence[str]) -> bool:
    if target.config is None:
        return list(words) == target.command
    # `hotlap train X` and `python -m hotlap train X` are the same.
    return list(words[-2:]) == ["train", target.config] and any(Path(word).name == "hotlap" for word in words[:-2])


def _before(record: _Record, here: Environment) -> SeenBefore:
    return SeenBefore(
        directory=shown(record.directory),
        date=record.date,
        step_seconds=record.diagnosis.step_seconds,
        findings={finding.code: finding.title for finding in record.diagnosis.findings},
        differences=differences(record.environment, here),
    )


def _division(budget: float, record: _Record | None) -> Division:
    if record is None:
        least, most = (share * budget for share in RESERVED)
        return Division(budget=budget, proof=(least, most), trial=SHARE_OF_A_TRIAL * (budget - least))
    needed = first_look_seconds(Pace(record.diagnosis.step_seconds, record.first_step or 0.0))
    proof = reserved(budget, needed)
    return Division(budget=budget, proof=(proof, proof), trial=SHARE_OF_A_TRIAL * (budget - proof), first_look=needed)


def _fits(target: Target, changes: Sequence[Foreseen], device: Device, say: Say) -> Fits | None:
    if target.config is None:
        return None
    from hotlap.estimate.of_changes import fits_of
    from hotlap.train.config import load_config

    edits: dict[str, Mapping[str, Any]] = {"": {}}
    edits |= {
        each.change.id: each.change.edits
        for each in changes
        if each.prospect != "not tried" and each.by_key and MOVES_MEMORY & each.change.edits.keys()
    }
    return fits_of(load_config(Path(target.config)), edits, device, say)


def _fitting(changes: Sequence[Foreseen], fits: Fits) -> list[Foreseen]:
    too_large = {each.change: each for each in fits.changes if each.verdict == "does not fit"}
    gib = 2**30
    return [
        msgspec.structs.replace(
            each,
            prospect="not tried",
            why=f"it would need about {too_large[each.change.id].total[1] / gib:.1f} GiB, and the {fits.card} has "
            f"{fits.memory / gib:.1f} (estimated)",
        )
        if each.change.id in too_large
        else each
        for each in changes
    ]


def _no_fits(target: Target) -> str:
    if target.config is None:
        return "memory is estimated for a configuration of hotlap train; a script's is seen in its profile"
    return "there is no GPU here: name a card with --gpu to see which changes fit on it"


def _writes(directory: Path, output: Path | None) -> Iterator[Output]:
    yield Output(path=shown(directory), what="all that trials write, checkpoints and logs of the training among it")
    yield Output(path=shown(directory / "journal.jsonl"), what="each measurement, from which a stopped tuning goes on")
    yield Output(path=shown(directory / "result.json"), what="the result, for `hotlap run --with`")
    yield Output(path=shown(directory / "report.html"), what="the page")
    yield Output(path=shown(directory / "changes.patch"), what="what is proven, as a patch; where there is something")
    if output is not None:
        yield Output(path=shown(output), what="the faster configuration; where there is one")


def _importable(python: str, package: str) -> bool:
    """Without importing it."""
    if python == sys.executable:
        return importlib.util.find_spec(package) is not None
    code = f"import importlib.util, json; print(json.dumps(importlib.util.find_spec({package!r}) is not None))"
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=True)
        return bool(json.loads(done.stdout))
    return False
