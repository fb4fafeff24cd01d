"""The run directory, and reading a Run back from one, whole or cut off anywhere."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.launch.decoding import Decoder
from hotlap.launch.devices import device_of
from hotlap.launch.following import records
from hotlap.launch.happenings import compilations_of, loader_starts_of, startup_of
from hotlap.launch.ranks import read_ranks
from hotlap.launch.remembering import memory_of
from hotlap.launch.timelines import timeline_of, typical
from hotlap.records import (
    Ablations,
    Facts,
    Gap,
    Metric,
    Outcome,
    Run,
    RunInfo,
    Sampled,
    Sites,
    Stages,
    Step,
    Syncs,
    Trace,
    Work,
    read_record,
)

RunDirectory = Path

#: What the processes of a run held, seen from outside.
MEMORY = "memory.jsonl"

#: Where run directories live, below the working directory, unless the user says otherwise.
DEFAULT_ROOT = Path(".hotlap/runs")

#: What was taken away from the training of this directory, to see what it costs.
ABLATIONS = "ablations.json"

#: What its step takes beyond what its work needs.
GAP = "gap.json"

#: What ``run.json`` says until the training has ended.
UNFINISHED: tuple[Outcome, str] = ("interrupted", "it still runs, or hotlap was killed before it ended")


def new_run_directory(kind: str, root: Path | None = None) -> Path:
    """Make an empty run directory ``ROOT/KIND-DATE-N``."""
    root = (root or DEFAULT_ROOT).absolute()
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        path = root / (f"{kind}-{stamp}" + (f"-{number}" if number else ""))
        try:
            path.mkdir(parents=True)
            hide_from_git(path)
            return path
        except FileExistsError:
            if not root.is_dir():
                raise RunError(f"cannot make a run directory: {root} is not a directory") from None
        except OSError as error:
            raise RunError(
                f"cannot make the run directory {path}: {error.strerror}; choose another with --run-dir"
            ) from error
    raise RunError(f"cannot make a run directory below {root}: all names are taken")


def hide_from_git(directory: Path) -> None:
    """What lies below ``.hotlap`` is nobody's source."""
    folder = next((parent for parent in directory.parents if parent.name == DEFAULT_ROOT.parts[0]), None)
    if folder is not None and not (folder / ".gitignore").exists():
        with suppress(OSError):
            (folder / ".gitignore").write_text("*\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of ``steps.jsonl``, decoded; a last line that was cut off is left out."""
    return Decoder().decode(_read_raw(path))


def _read_raw(path: Path) -> list[dict[str, Any]]:
    """As they stand there, many steps in one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    return records(data.split(b"\n")[:-1], path)


def steps_of(lines: list[dict[str, Any]]) -> list[Step]:
    return [msgspec.convert(_numbers(line), Step, strict=False) for line in lines if line["k"] == "step"]


def _metric(line: dict[str, Any]) -> Metric:
    return Metric(name=line["name"], value=float(line["value"]), step=line["step"])


def _numbers(line: dict[str, Any]) -> dict[str, Any]:
    loss = line.get("loss")
    return {**line, "loss": float(loss)} if isinstance(loss, str) else line


def facts_of(lines: list[dict[str, Any]]) -> Facts:
    found: dict[str, Any] = {}
    for line in lines:
        # torchrun and its like import torch too, but train nothing: what they know is of themselves.
        if line["k"] == "facts" and ("device" in line or "device" not in found):
            found.update(line)
    found.pop("k", None)
    known = {name: value for name, value in found.items() if not isinstance(value, float) or math.isfinite(value)}
    return msgspec.convert(known, Facts)


def syncs_of(lines: list[dict[str, Any]]) -> Syncs | None:
    found = [line for line in lines if line["k"] == "sync"]
    return msgspec.convert(found[-1], Syncs, strict=False) if found else None


def sampled_of(lines: list[dict[str, Any]]) -> Sampled | None:
    found = [line for line in lines if line["k"] == "sampled"]
    return msgspec.convert(found[-1], Sampled, strict=False) if found else None


def sites_of(lines: list[dict[str, Any]]) -> Sites | None:
    found = [line for line in lines if line["k"] == "sites"]
    return msgspec.convert(found[-1], Sites, strict=False) if found else None


def stages_of(lines: list[dict[str, Any]]) -> Stages | None:
    """The last of their lines stands for those before it."""
    seen = [line for line in lines if line["k"] == "stages"]
    return msgspec.convert(seen[-1], Stages, strict=False) if seen else None


def read_run(path: Path) -> Run:
    """Read a run directory.

    Raises:
        RunError: it is none, holds what no probe writes, or was written by a newer hotlap.
    """
    info_path = path / "run.json"
    if not info_path.exists():
        raise RunError(f"{path} is not a run directory: it has no run.json")
    info = read_record(info_path, RunInfo)
    raw = _read_raw(path / "steps.jsonl")
    try:
        run = run_of(info, Decoder().decode(raw), read_lines(path / MEMORY))
        timeline = timeline_of(raw, typical(run.steps))
        run = msgspec.structs.replace(run, ranks=read_ranks(path), timeline=timeline)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: steps.jsonl holds a line that no probe of this hotlap writes ({error!r}); record "
            "the run again"
        ) from error
    proven, gap = path / ABLATIONS, path / GAP
    return msgspec.structs.replace(
        run,
        ablations=read_record(proven, Ablations) if proven.exists() else None,
        gap=read_record(gap, Gap) if gap.exists() else None,
    )


def run_of(info: RunInfo, lines: list[dict[str, Any]], seen: Sequence[dict[str, Any]] = ()) -> Run:
    """``lines`` of ``steps.jsonl``, and what was ``seen`` of the processes from outside."""
    steps = steps_of(lines)
    if (info.outcome, info.reason) == UNFINISHED:
        # Known to have lived as long as its last step.
        info = msgspec.structs.replace(info, ended=max([info.ended, *(step.t + step.wall for step in steps)]))
    unapplied: list[str] = next((line["notes"] for line in reversed(lines) if line["k"] == "levers"), [])
    return Run(
        info=info,
        facts=facts_of(lines),
        steps=steps,
        metrics=[_metric(line) for line in lines if line["k"] == "metric"],
        notes=msgspec.convert([line.get("text", "") for line in lines if line["k"] == "note"] + unapplied, list[str]),
        unapplied=unapplied,
        syncs=syncs_of(lines),
        sampled=sampled_of(lines),
        sites=sites_of(lines),
        startup=startup_of(lines),
        compilations=compilations_of(lines, steps),
        loader_starts=loader_starts_of(lines, steps),
        stages=stages_of(lines),
        device=device_of(lines),
        memory=memory_of(lines, seen),
        trace=trace_of(lines),
    )


def trace_of(lines: list[dict[str, Any]]) -> Trace | None:
    found: dict[str, Any] = {}
    for line in lines:
        if line["k"] in ("trace", "flops", "peak"):
            found.update(line)
    rows, unknown = found.pop("work", None), found.pop("unknown", [])
    if not found:
        return None
    trace = msgspec.convert(found, Trace)
    return trace if rows is None else msgspec.structs.replace(trace, work=Work.of(rows, unknown))


def add_peak(directory: Path, run: Run, peak: float | None, dtype: str) -> Run:
    """Keep what the machine reaches beside what the training was seen to do."""
    if run.trace is None or peak is None:
        return run
    with open(directory / "steps.jsonl", "a") as file:
        file.write(json.dumps({"k": "peak", "peak": peak, "peak_dtype": dtype}) + "\n")
    return msgspec.structs.replace(run, trace=msgspec.structs.replace(run.trace, peak=peak, peak_dtype=dtype))


def has_room(path: Path, needed: int = 32 << 20) -> None:
    """Refuse to begin on a full disk."""
    stat = os.statvfs(path)
    if stat.f_bavail * stat.f_frsize < needed:
        raise RunError(
            f"the disk of {path} is full: {stat.f_bavail * stat.f_frsize >> 20} MB are free, {needed >> 20} MB are "
            "needed; free some space or choose another place with --run-dir"
        )
