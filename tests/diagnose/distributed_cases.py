"""Records of several ranks that never ran. As in a real one, all ranks leave a synchronisation together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from planted import HEALTHY, steps

from hotlap.records import DataParallel, Rank

DDP = DataParallel(
    backend="gloo",
    parameter_bytes=40_000_000,
    buckets=[25_000_000, 15_000_000],
    backwards=40,
    syncs=40,
    looks=4,
    exposed=0.002,
    overlapped=0.01,
    unused=0,
    search_seconds=1e-5,
)

#: Seconds that a phase takes longer on a rank in a step.
Extra = Callable[[int, int], Mapping[str, float]]


def together(
    extra: Extra = lambda rank, step: {},
    *,
    world: int = 2,
    n: int = 40,
    sync: float = 0.002,
    samples: Sequence[int] | None = None,
    micro_batches: int = 1,
    parallel: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    base: Mapping[str, float] = HEALTHY,
    jitter: float = 0.02,
) -> dict[str, Any]:
    """Return what ``planted.run`` makes a run of. ``sync``: seconds of communication that no rank escapes.

    What a rank does after its synchronisation the others wait for in the next step: here it is all done before.
    """
    chance = random.Random(0)
    own: list[list[dict[str, float]]] = [[] for _ in range(world)]
    for step in range(n):
        for rank in range(world):
            row = {name: seconds * chance.gauss(1, jitter) for name, seconds in base.items()}
            for name, seconds in extra(rank, step).items():
                row[name] = row.get(name, 0.0) + seconds
            own[rank].append(row)
    for rows in zip(*own, strict=True):
        latest = max(sum(row.values()) for row in rows)
        for row in rows:
            row["gradient_sync"] = sync + latest - sum(row.values())
    sizes = samples or [8] * world
    data_parallel = msgspec.structs.replace(DDP, **(parallel or {}))
    recorded = steps(own[0], samples=sizes[0], micro_batches=micro_batches)
    return {
        "recorded": recorded,
        "facts": {"world_size": world, **(facts or {})},
        "ranks": [
            Rank(
                rank=rank,
                data_parallel=data_parallel,
                steps=list(range(n)),
                walls=[sum(row.values()) for row in rows],
                phases={name: [row.get(name, 0.0) for row in rows] for name in {key for row in rows for key in row}},
                micro_batches=[micro_batches] * n,
                samples=[sizes[rank]] * n,
            )
            for rank, rows in enumerate(own)
        ],
    }


def slow(rank: int, **phases: float) -> Extra:
    return lambda here, step: phases if here == rank else {}


def in_turn(**phases: float) -> Extra:
    """A rank at random is slow in each step."""
    chance = random.Random(1)
    turns = [chance.randrange(2) for _ in range(1000)]
    return lambda here, step: phases if here == turns[step] else {}


def now_and_then(rank: int, every: int, **phases: float) -> Extra:
    return lambda here, step: phases if here == rank and step % every == every - 1 else {}


#: Four micro-batches of a step, each with its wait.
ACCUMULATED: dict[str, Any] = {"micro_batches": 4, "sync": 0.04, "parallel": {"backwards": 160, "syncs": 160}}
NO_SYNC = {**ACCUMULATED, "sync": 0.01, "parallel": {"backwards": 160, "syncs": 40}}
SEARCHING = {"find_unused_parameters": True, "search_seconds": 0.01}
ON_A_GPU = {"facts": {"device": "cuda:0"}}

#: In the order of the catalogue.
CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "DISTRIBUTED03": (
        together(**ACCUMULATED),
        [
            together(**NO_SYNC),
            together(sync=0.04),
            together(**{**ACCUMULATED, "parallel": {"backwards": 160, "syncs": 160, "models": 2}}),
            {**together(**ACCUMULATED), "ranks": []},
        ],
    ),
    "DISTRIBUTED04": (
        together(slow(1, forward=0.02, backward=0.02), samples=[8, 12]),
        [
            together(slow(1, forward=0.02, backward=0.02)),
            together(samples=[8, 12]),
            together(slow(0, forward=0.02, backward=0.02), samples=[8, 12]),
            together(slow(1, logging=0.04), samples=[8, 12]),
        ],
    ),
    "DISTRIBUTED02": (
        together(slow(1, forward=0.05)),
        [
            together(),
            together(in_turn(forward=0.05)),
            together(slow(1, forward=0.001)),
            together(slow(1, forward=0.05), n=6),
            {**together(slow(1, forward=0.05)), "ranks": together(slow(1, forward=0.05))["ranks"][:1]},
            # A rank that does as much longer in one phase as it does shorter in another costs nobody anything.
            together(lambda rank, step: {"forward": 0.05} if rank else {"backward": 0.05}),
        ],
    ),
    "DISTRIBUTED06": (
        together(in_turn(forward=0.04)),
        [together(), together(in_turn(forward=0.004)), together(slow(1, forward=0.04))],
    ),
    "DISTRIBUTED05": (
        together(parallel=SEARCHING),
        [
            together(parallel={**SEARCHING, "unused": 4096}),
            together(parallel={**SEARCHING, "looks": 1}),
            together(parallel={**SEARCHING, "unused": None}),
            together(parallel={**SEARCHING, "static_graph": True}),
            together(parallel={**SEARCHING, "search_seconds": 1e-4}),
            together(parallel={"search_seconds": 0.01}),
        ],
    ),
    "DISTRIBUTED01": (
        together(sync=0.04),
        [
            together(sync=0.005),
            together(slow(1, forward=0.05), sync=0.005),
            together(sync=0.04, **ON_A_GPU),
            {**together(sync=0.04), "ranks": []},
        ],
    ),
}
