"""Records of runs that never ran, with what a test plants in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hotlap.records import (
    DevicePhase,
    DevicePhases,
    Environment,
    Facts,
    Memory,
    Rank,
    Run,
    RunInfo,
    Stage,
    Stages,
    Step,
    Syncs,
)

#: Seconds of a healthy step of 100 ms.
HEALTHY = {"data_wait": 0.001, "forward": 0.04, "loss": 0.008, "backward": 0.045, "optimizer": 0.003, "other": 0.003}
#: A well-made loop of 1 ms.
SHORT = {"data_wait": 20e-6, "forward": 0.34e-3, "loss": 0.04e-3, "backward": 0.34e-3, "optimizer": 60e-6}
SHORT["other"] = 0.18e-3

FACTS = Facts(
    device="cpu",
    threads=4,
    parameter_tensors=60,
    parameter_dtype="float32",
    optimizer="AdamW",
    optimizer_foreach=False,
    optimizer_fused=False,
    batch_size=8,
    workers=2,
    prefetch_factor=2,
    compiled=False,
    fetch_seconds=0.02,
    convolutions=0,
    channels_last=False,
    module_calls=40,
    peak_memory=2**30,
)


def steps(rows: Sequence[Mapping[str, float]], t: float = 3.0, **fields: Any) -> list[Step]:
    """Return consecutive steps with these phases."""
    made = []
    for i, phases in enumerate(rows):
        made.append(Step(i=i, t=t, wall=sum(phases.values()), phases=dict(phases), **{"samples": 8, **fields}))
        t += made[-1].wall + made[-1].paused
    return made


def run(
    recorded: Sequence[Step] | None = None,
    *,
    phases: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
    cores: int = 8,
    memory: int | None = 16 * 2**30,
    micro_batches: int = 1,
    n: int = 40,
    seen: Memory | None = None,
    ranks: Sequence[Rank] = (),
    syncs: Syncs | None = None,
    happened: Mapping[str, Any] | None = None,
    stages: Stages | None = None,
) -> Run:
    """Return a run of these steps, or of ``n`` healthy ones with ``phases`` in place of their own.

    ``happened``: other fields of the run.
    """
    if recorded is None:
        recorded = steps([{**HEALTHY, **(phases or {})}] * n, micro_batches=micro_batches)
    last = recorded[-1] if recorded else None
    info = RunInfo(
        name="planted",
        command=["python", "train.py"],
        cwd="/",
        environment=Environment(hotlap="0", python="3.11", cores=cores, memory=memory),
        started=1.0,
        ended=last.t + last.wall + last.paused + 0.5 if last else 4.0,
        date="2026-01-01T00:00:00Z",
        outcome="finished",
    )
    return Run(
        info=info,
        facts=msgspec.structs.replace(FACTS, **(facts or {})),
        steps=list(recorded),
        ranks=list(ranks),
        syncs=syncs,
        stages=stages,
        memory=seen or Memory(),
        **(happened or {}),
    )


def device(
    share: float, *, known: float = 1.0, dry: float = 1.0, phases: Mapping[str, float] = HEALTHY
) -> DevicePhases:
    """Return a GPU that works for this share of the phases of a step, of which ``known`` is certain."""
    idle = ("data_wait", "other")
    return DevicePhases(
        steps=2,
        held=1,
        wall=sum(phases.values()),
        phases={
            name: DevicePhase(
                host=host,
                elapsed=host,
                at_least=0.0 if name in idle else known * share * host,
                at_most=0.0 if name in idle else share * host,
            )
            for name, host in phases.items()
        },
        dry=dry,
        host_waits=0.0,
    )


def model(blocks: Sequence[float], recompute: bool = False) -> Stages:
    """Return stages of a model with a stem, blocks of two layers that take so many seconds each, and a head."""

    def stage(path: str, cls: str, parent: int | None, forward: float = 0.0, again: float = 0.0) -> Stage:
        return Stage(
            path=path, module=cls, parent=parent, calls=1, forward=forward, backward=2 * forward, recompute=again
        )

    made = [stage("Net", "Net", None, 0.01), stage("stem", "Linear", 0, 0.3)]
    for number, seconds in enumerate(blocks):
        block = len(made)
        again = seconds / 3 if recompute else 0.0
        made.append(stage(f"blocks.{number}", "Block", 0, seconds / 3, again))
        made.append(stage(f"blocks.{number}.up", "Linear", block, seconds / 3, again))
        made.append(stage(f"blocks.{number}.down", "Linear", block, seconds / 3, again))
    return Stages(steps=3, stages=[*made, stage("head", "Linear", 0, 0.2)], outside=0.03)


def looped(calls: int, *, seconds: float = 130e-6, nodes: float = 45, beside: float = 0.0) -> Stages:
    """Return stages of a model that calls a cell so many times; each takes ``seconds`` of forward for its ``nodes``.

    ``beside``: seconds of a layer that is called once.
    """

    def stage(path: str, cls: str, parent: int | None, times: int, forward: float, each: float) -> Stage:
        return Stage(
            path=path, module=cls, parent=parent, calls=times, nodes=each * times, forward=forward, backward=forward
        )

    made = [stage("Net", "Net", None, 1, 0.001, 1), stage("encoder", "Linear", 0, 1, beside, 2)]
    made.append(stage("cell", "Cell", 0, calls, calls * seconds / 3, nodes / 3))
    made.append(stage("cell.gates", "Linear", 2, calls, calls * seconds * 2 / 3, nodes * 2 / 3))
    return Stages(steps=3, stages=made, outside=0.001)
