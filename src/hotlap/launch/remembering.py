"""The memory of a run, from the lines that the probe and the watch have written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from hotlap.records import GraphCount, HeldByDataset, Memory, MemoryAccount, MemorySample, ProcessMemory, ResidentPoint

#: Points over the steps that are kept.
_POINTS = 256


def memory_of(lines: Sequence[dict[str, Any]], seen: Iterable[dict[str, Any]]) -> Memory:
    """``lines`` of ``steps.jsonl``, and those of ``memory.jsonl``."""
    accounts = [line for line in lines if line["k"] == "memory"]
    inputs = {line["i"]: line["bytes"] for line in lines if line["k"] == "inputs"}
    points = [
        msgspec.convert({**line, "inputs": inputs.get(line["i"])}, ResidentPoint)
        for line in lines
        if line["k"] == "resident"
    ]
    counts = {line["i"]: msgspec.convert(line, GraphCount) for line in lines if line["k"] == "graphs"}
    trainers = {line["pid"] for line in lines if line["k"] == "start"}
    return Memory(
        account=msgspec.convert(accounts[-1], MemoryAccount) if accounts else None,
        points=spaced(points),
        graphs=[counts[i] for i in sorted(counts)],
        samples=[_sample(line, trainers) for line in seen if line["k"] == "processes"],
        dataset=_held(lines),
    )


def _held(lines: Sequence[dict[str, Any]]) -> HeldByDataset | None:
    """Of the loader that started last before the first step was over, and does not feed a validation."""
    validating = {name for line in lines if line["k"] == "validation_loaders" for name in line["names"]}
    found = [line for line in lines if line["k"] == "dataset" and line["loader"] not in validating]
    return msgspec.convert(found[-1], HeldByDataset, strict=False) if found else None


def spaced(points: list[ResidentPoint]) -> list[ResidentPoint]:
    """Points about equally far apart: those of the first steps were taken closer together."""
    if len(points) <= _POINTS:
        return points
    distance = (points[-1].i - points[0].i) / _POINTS
    kept: list[ResidentPoint] = []
    for point in points:
        if not kept or point.i >= points[0].i + len(kept) * distance:
            kept.append(point)
    return kept


def _sample(line: dict[str, Any], trainers: set[int]) -> MemorySample:
    parents = {each["pid"]: each["parent"] for each in line["processes"]}
    processes = []
    for each in line["processes"]:
        below = each["pid"]
        while below in parents and below not in trainers:
            below = parents[below]
        role = "trainer" if each["pid"] in trainers else "worker" if below in trainers else "other"
        fields = {name: value for name, value in each.items() if name != "helper"}
        processes.append(msgspec.convert({**fields, "role": "other" if each.get("helper") else role}, ProcessMemory))
    return MemorySample(t=line["t"], processes=processes)
