"""Reading the records of all ranks of a run: their last steps, in columns, whole or cut off anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.records import DataParallel, Rank

#: Bytes of all ranks' records together that are read, and the least of one: from its end, where all but the steps is.
_BYTES, _LEAST = 64 << 20, 1 << 20


class _Line(msgspec.Struct):
    k: str
    i: int = 0
    wall: float = 0.0
    phases: dict[str, float] = {}
    micro_batches: int = 1
    samples: int | None = None
    looked: bool = False


_line = msgspec.json.Decoder(_Line)


def read_ranks(directory: Path) -> list[Rank]:
    """Return every rank that left a record in this directory, rank 0 first; nothing where there is only one."""
    numbered = [
        (int(found[1]), path)
        for path in directory.glob("steps.rank*.jsonl")
        if (found := re.fullmatch(r"steps\.rank(\d+)\.jsonl", path.name))
    ]
    if not numbered:
        return []
    paths = [(0, directory / "steps.jsonl"), *sorted(numbered)]
    most = max(_LEAST, _BYTES // len(paths))
    ranks = [_read(rank, path, most) for rank, path in paths if path.exists()]
    return [rank for rank in ranks if rank.steps]


def _read(number: int, path: Path, most: int) -> Rank:
    rank = Rank(rank=number, steps=[], walls=[], phases={}, micro_batches=[], samples=[])
    parallel: dict[str, Any] | None = None
    try:
        for line in _lines(path, most):
            try:
                found = _line.decode(line)
                if found.k == "data_parallel":
                    parallel = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # cut off, or not one of ours
            if found.k == "step" and not found.looked:
                _add(rank, found)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    try:
        return msgspec.structs.replace(
            rank, data_parallel=None if parallel is None else msgspec.convert(parallel, DataParallel)
        )
    except msgspec.ValidationError as error:
        raise RunError(f"{path} is no record of a rank: {error}") from error


def _lines(path: Path, most: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        if size > most:
            file.readline()  # the rest of a line
        yield from file


def _add(rank: Rank, step: _Line) -> None:
    seen = len(rank.steps)
    rank.steps.append(step.i)
    rank.walls.append(step.wall)
    rank.micro_batches.append(step.micro_batches)
    rank.samples.append(step.samples)
    for name in step.phases.keys() - rank.phases.keys():
        rank.phases[name] = [0.0] * seen
    for name, column in rank.phases.items():
        column.append(step.phases.get(name, 0.0))
