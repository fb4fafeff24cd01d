"""A run of which everything is known that a report can show, with figures as real ones have them."""

from __future__ import annotations

import made_up
from made_up import replace

from hotlap.records import (
    DevicePhase,
    DevicePhases,
    Gap,
    GapRow,
    LoaderStart,
    Memory,
    MemoryAccount,
    MemorySample,
    ProcessMemory,
    Rank,
    ResidentPoint,
    Run,
    Stage,
    Stages,
    Sync,
    Syncs,
    Timeline,
    TimelineSpan,
)

MB = 1_000_000


def run(name: str = "blocks.0") -> Run:
    """``name`` is that of a stage, a file and a phase, which come from the user's own code."""
    plain = made_up.run(60)
    steps, phases = list(range(30, 60)), made_up.BEFORE
    return replace(
        plain,
        facts=replace(plain.facts, fetch_seconds=0.0176, fetch_samples_seconds=0.016, fetch_collate_seconds=0.001),
        info=replace(
            plain.info,
            environment=replace(
                made_up.ENVIRONMENT,
                kernel="6.8.0",
                virtual=True,
                pressure=0.031,
                cuda="12.8",
                variables={"OMP_NUM_THREADS": "8", "WANDB_API_KEY": "sesame"},
            ),
        ),
        timeline=Timeline(
            step=44,
            seconds=0.0465,
            spans=[
                TimelineSpan(phase="data_wait", start=0.0, seconds=0.0181),
                TimelineSpan(phase="forward", start=0.0181, seconds=0.0082),
                TimelineSpan(phase=name, start=0.0263, seconds=0.0001),
                TimelineSpan(phase="backward", start=0.0264, seconds=0.0201),
            ],
        ),
        stages=Stages(
            steps=3,
            stages=[
                Stage(path="Net", module="Net", calls=1, forward=0.0002, backward=0.0001),
                Stage(path=name, module="Block", parent=0, calls=1, forward=0.005, backward=0.009),
                Stage(path="tail", module="Conv2d", parent=0, calls=1, forward=0.003, backward=0.004),
            ],
        ),
        memory=Memory(
            account=MemoryAccount(
                step=20,
                device="cuda",
                parameters=45 * MB,
                buffers=0,
                gradients=45 * MB,
                optimizer=90 * MB,
                inputs=30 * MB,
                activations=700 * MB,
                moments={"before": 180 * MB, "forward": 930 * MB, "backward": 260 * MB, "optimizer": 225 * MB},
            ),
            points=[ResidentPoint(i=i, bytes=(900 + i) * MB, shared=20 * MB, device=180 * MB) for i in range(0, 60, 5)],
            samples=[
                MemorySample(
                    t=1.0,
                    processes=[
                        ProcessMemory(pid=1, parent=0, rss=950 * MB, pss=700 * MB, uss=600 * MB, role="trainer"),
                        ProcessMemory(pid=2, parent=1, rss=500 * MB, pss=200 * MB, uss=100 * MB, role="worker"),
                    ],
                )
            ],
        ),
        ranks=[
            Rank(
                rank=rank,
                steps=steps,
                walls=[0.0465 + 0.001 * rank] * 30,
                phases={phase: [seconds] * 30 for phase, seconds in phases.items()},
                micro_batches=[1] * 30,
                samples=[32] * 30,
            )
            for rank in range(2)
        ],
        syncs=Syncs(
            watched=4,
            lines=[
                Sync(
                    file=f"/home/me/project/{name}",
                    line=12,
                    function="main",
                    what="item()",
                    count=1.0,
                    seconds=0.004,
                    seen=4,
                )
            ],
        ),
        device=DevicePhases(
            steps=4,
            held=1,
            wall=0.0465,
            phases={"forward": DevicePhase(host=0.008, elapsed=0.008, at_least=0.004, at_most=0.006)},
            dry=0.5,
            host_waits=0.001,
        ),
        gap=Gap(
            device="NVIDIA H100",
            on_gpu=True,
            step=0.0465,
            steps=30,
            flops=9e12,
            model_flops=7e12,
            bytes=6e9,
            operators=1200,
            best_flops={"products in bfloat16": 990e12},
            best_bandwidth=3e12,
            best_from="as its vendor lists them",
            arithmetic=0.0091,
            model_arithmetic=0.0071,
            moving=0.002,
            rows=[
                GapRow(name="backward", measured=0.0284, at_best=0.006, expected=0.009),
                GapRow(name="data_wait", measured=0.0181),
            ],
            counted="counted in a step of the run",
            unknown=[name],
        ),
        loader_starts=[
            LoaderStart(t=1.0, seconds=0.2, first_batch=0.1, step=0, workers=2, fresh=True),
            LoaderStart(t=9.0, seconds=0.2, first_batch=None, step=30, workers=2, validation=True),
        ],
    )
