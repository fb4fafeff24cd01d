"""Reading the records of all ranks of a run: their last steps, in columns, whole or cut off anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.launch.decoding import Decoder
from hotlap.records import Rank

#: Bytes of all ranks' records together that are read, and the least of one: from its end, where all but the steps is.
_BYTES, _LEAST = 64 << 20, 1 << 20


#: How such a line begins. What steps mean was written once, perhaps long ago.
_PLAN = b'{"k": "plan"'


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
    decoder = Decoder()
    try:
        for line in _lines(path, most):
            try:
                found = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # cut off, or not one of ours
            if found.get("k") == "data_parallel":
                parallel = found
            for step in decoder.decode([found]) if "k" in found else ():
                if step["k"] == "step" and not step.get("looked"):
                    _add(rank, step)
        # What stands in the columns came as it was.
        return msgspec.convert({**msgspec.structs.asdict(rank), "data_parallel": parallel}, Rank)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no record of a rank: {error}") from error


def _lines(path: Path, most: int) -> Iterator[bytes]:
    """The plans, and of all other lines the last."""
    with path.open("rb") as file:
        skipped = os.fstat(file.fileno()).st_size - most
        for line in file:
            if skipped <= 0 or line.startswith(_PLAN):
                yield line
            skipped -= len(line)


def _add(rank: Rank, step: dict[str, Any]) -> None:
    seen = len(rank.steps)
    rank.steps.append(step["i"])
    rank.walls.append(step["wall"])
    rank.micro_batches.append(step.get("micro_batches", 1))
    rank.samples.append(step.get("samples"))
    phases = step["phases"]
    for name in phases.keys() - rank.phases.keys():
        rank.phases[name] = [0.0] * seen
    for name, column in rank.phases.items():
        column.append(phases.get(name, 0.0))
