"""Run directories as a probe leaves them, with figures that a test can count on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hotlap.launch import read_run
from hotlap.records import Environment, Run, RunInfo

MS = 1_000_000
#: The monotonic clock when the run was started, when torch was there and when the first step began.
STARTED, IMPORTED, FIRST = 1000.0, 1001.5, 1002.0
#: Milliseconds of each mark of a step of two micro-batches.
MARKS = [
    ("data_wait", 4),
    ("forward", 3),
    ("loss", 1),
    ("backward", 2),
    ("recompute", 1),
    ("backward", 2),
    ("forward", 3),
    ("loss", 1),
    ("backward", 2),
    ("gradient_sync", 1),
    ("optimizer", 2),
    ("other", 1),
]
STEP = sum(length for _, length in MARKS) / 1000
PHASES = list(dict.fromkeys(phase for phase, _ in MARKS))


def info(**fields: Any) -> RunInfo:
    base = RunInfo(
        name="profile-1",
        command=["python", "train.py", "--api-key", "hunter2", "--lr", "0.1"],
        cwd="/home/me",
        environment=Environment(hotlap="0.1.0", python="3.12.3", torch="2.9.0", cpu="A processor", cores=8),
        started=STARTED,
        ended=1010.0,
        date="2026-11-21T09:30:00Z",
        outcome="finished",
        exit_code=0,
    )
    return msgspec.structs.replace(base, **fields)


def plan() -> dict[str, Any]:
    slots = [PHASES.index(phase) for phase, _ in MARKS]
    return {"k": "plan", "id": 0, "phases": PHASES, "slots": slots, "micro_batches": 2}


def steps(count: int, losses: list[Any] | None = None, late: int = 0, **fields: Any) -> dict[str, Any]:
    """A line of so many steps; ``late`` nanoseconds after those of the first rank."""
    times = [round(FIRST * 1e9) + late]
    for _ in range(count):
        for _, length in MARKS:
            times.append(times[-1] + length * MS)
    shown = [1.0 / (i + 1) for i in range(count)] if losses is None else losses
    return {"k": "steps", "i": 0, "plan": 0, "times": times, "samples": [8] * count, "losses": shown, **fields}


def write(folder: Path, *lines: dict[str, Any], ranks: int = 1, count: int = 6, **fields: Any) -> Path:
    """Make a run directory of ``count`` steps, with further ``lines`` of its record."""
    directory = folder / "profile-1"
    directory.mkdir()
    (directory / "run.json").write_bytes(msgspec.json.encode(info(**fields)))
    start = {"k": "start", "t": 1000.1, "imported": IMPORTED, "pid": 7}
    own = [line for line in lines if line["k"] == "steps"] or [steps(count)]
    written = [start, plan(), *own, *(line for line in lines if line["k"] != "steps")]
    (directory / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written))
    for rank in range(1, ranks):
        others = [plan(), steps(count, late=rank * MS)]
        (directory / f"steps.rank{rank}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in others))
    return directory


def recorded(folder: Path, *lines: dict[str, Any], **options: Any) -> tuple[Run, Path]:
    directory = write(folder, *lines, **options)
    return read_run(directory), directory
