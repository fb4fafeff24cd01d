"""Records of memory that nobody measured, for the rules about it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hotlap.records import GraphCount, Memory, MemoryAccount, MemorySample, ProcessMemory, ResidentPoint

MB, GB = 10**6, 10**9


def points(of: Callable[[float], float], n: int = 100, noise: float = 0.2 * MB, device: bool = False) -> Memory:
    """Points every 16 steps: ``of`` gives bytes from the part of the run that is over."""
    chance = random.Random(1)
    made = []
    for i in range(n):
        size = int(of(i / n) + chance.uniform(-noise, noise))
        made.append(
            ResidentPoint(
                i=16 * i, bytes=int(GB if device else size + 100 * MB), shared=100 * MB, device=size if device else None
            )
        )
    account = MemoryAccount(
        step=100, device="cuda", parameters=1, buffers=0, gradients=1, optimizer=0, total=80 * GB, moments={}
    )
    return Memory(points=made, account=account if device else None)


def sized(memory: Memory, of: Callable[[float], float], steps: int | None = None) -> Memory:
    """The same points with inputs, ``of`` the part of the run that is over, and spread over so many steps."""
    n = len(memory.points)
    apart = 16 if steps is None else steps / n
    made = [
        msgspec.structs.replace(point, i=int(apart * k), inputs=int(of(k / n))) for k, point in enumerate(memory.points)
    ]
    return msgspec.structs.replace(memory, points=made)


def stairs(part: float) -> float:
    """Sequences of 40 lengths."""
    return 65536 * (5 + int(40 * part))


def ramp(part: float) -> float:
    return 65536 * (1 + 7 * part)


def random_sizes(part: float) -> float:
    return 65536 * random.Random(part).uniform(0.5, 8)


def leaks(part: float) -> float:
    return GB + 200 * MB * part


def fills(part: float) -> float:
    """A cache that is full at a third of the run."""
    return GB + 200 * MB * min(1.0, 3 * part)


def jumps(part: float) -> float:
    return GB + (200 * MB if part > 0.6 else 0)


def creeps(part: float) -> float:
    return GB + 2 * MB * part


def stairs_of_memory(part: float) -> float:
    return GB + 5 * MB * int(40 * part)


def counts(
    nodes: Sequence[int],
    steps: Sequence[int] = (6, 48, 112, 240),
    inputs: Callable[[float], float] | None = None,
) -> Memory:
    memory = Memory() if inputs is None else sized(points(lambda part: GB), inputs)
    found = [GraphCount(i=i, tensors=node // 10, nodes=node) for i, node in zip(steps, nodes, strict=True)]
    return msgspec.structs.replace(memory, graphs=found)


def workers(
    private: Callable[[float], float], mapped: Callable[[float], float], n: int = 60, restart: int | None = None
) -> Memory:
    """Two workers, looked at every second."""
    samples = []
    for i in range(n):
        part = i / n
        trainer = process(1, 2 * GB, 2 * GB, "trainer")
        first = 10 if restart is None or i < restart else 20
        below = [process(first + j, private(part), mapped(part), "worker") for j in range(2)]
        samples.append(MemorySample(t=float(i), processes=[trainer, *below]))
    return Memory(samples=samples)


def process(pid: int, private: float, mapped: float, role: Any, swap: int = 0) -> ProcessMemory:
    return ProcessMemory(
        pid=pid,
        parent=0,
        rss=int(mapped),
        pss=int((private + mapped) / 2),
        uss=int(private),
        held=int(private),
        swap=swap,
        role=role,
    )


def full(used: float, swap: int = 0) -> Memory:
    return Memory(samples=[MemorySample(t=1.0, processes=[process(1, used, used, "trainer", swap)])])


def allocator(**fields: Any) -> Memory:
    known = {"retries": 5, "first_retries": 2, "first_step": 6, "reserved": 70 * GB, "inactive_split": 9 * GB}
    account = MemoryAccount(
        step=200, device="cuda", parameters=1, buffers=0, gradients=1, optimizer=0, total=80 * GB, **{**known, **fields}
    )
    return Memory(account=account)


def copies(part: float) -> float:
    return 0.5 * GB + 4 * GB * part


#: For each rule: what it speaks up on, and the nearest healthy records.
MEMORY: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "MEMORY02": (
        {"seen": counts([55, 340, 790, 1690])},
        [
            {"seen": counts([13, 13, 13, 13])},
            {"seen": counts([55, 340, 340, 340])},  # a window over the last losses that is full
            {"seen": counts([55, 340, 20, 900])},  # dropped at the end of an epoch
            {"seen": counts([55, 340, 520], (6, 18, 30))},  # too soon to tell
            {"seen": counts([55, 340], (6, 240))},
            {"seen": counts([13, 26, 39, 91], (6, 400, 800, 1500), stairs)},  # a loop over the steps of a sample
        ],
    ),
    "MEMORY03": (
        {"seen": points(leaks)},
        [
            {"seen": points(fills)},
            {"seen": points(jumps)},
            {"seen": points(creeps)},
            {"seen": points(lambda part: GB + 20 * MB * part, n=1000)},  # a history of numbers
            {"seen": points(leaks, n=14)},
            {"seen": points(lambda part: GB, noise=20 * MB)},
            {"seen": points(leaks), "memory": None},
            {"seen": points(leaks), "memory": 2**60},  # full in a million years
            {"seen": points(fills, device=True)},
            {"seen": sized(points(stairs_of_memory), stairs)},
            {"seen": sized(points(leaks), ramp)},  # what is kept besides cannot be told from it
            {"seen": sized(points(leaks, device=True), ramp)},
        ],
    ),
    "MEMORY04": (
        {"seen": workers(copies, lambda part: 9 * GB)},
        [
            {"seen": workers(copies, lambda part: 4.6 * GB)},  # what can be copied fits
            {"seen": workers(lambda part: GB, lambda part: 9 * GB)},
            {"seen": workers(lambda part: GB + 3 * GB * min(1.0, 3 * part), lambda part: 9 * GB)},
            {"seen": workers(copies, lambda part: 9 * GB, restart=50)},
            {"seen": workers(copies, lambda part: 9 * GB, n=10)},
        ],
    ),
    "MEMORY05": (
        {"seen": full(16 * GB)},
        [{"seen": full(12 * GB)}, {"seen": full(16 * GB), "memory": None}, {"seen": full(GB, swap=10 * MB)}],
    ),
    "MEMORY06": (
        {"seen": allocator()},
        [
            {"seen": allocator(first_retries=5)},
            {"seen": allocator(retries=None)},
            {"seen": allocator(first_step=200)},
        ],
    ),
}
