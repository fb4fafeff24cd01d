"""Records of trainings that never ran, with figures as real ones have them."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec

from hotlap.records import (
    Budget,
    Change,
    Comparison,
    Diagnosis,
    Effect,
    Environment,
    Facts,
    Finding,
    Metric,
    Run,
    RunInfo,
    SameTraining,
    Step,
    Trial,
    Tuning,
    WillNotHelp,
)

ENVIRONMENT = Environment(
    hotlap="0.1.0",
    python="3.12.3",
    torch="2.9.0",
    platform="Linux-6.8-x86_64",
    cpu="AMD EPYC 7763",
    cores=8,
    memory=67_430_000_000,
    gpus=["NVIDIA GeForce RTX 4090"],
    load=0.4,
)
COMMAND = ["python", "train.py", "--config", "configs/restoration.yaml", "--name", "größe <b>π</b>"]
BEFORE = {
    "data_wait": 0.0181,
    "host_to_device": 0.0009,
    "forward": 0.0082,
    "loss": 0.0011,
    "backward": 0.0093,
    "recompute": 0.0041,
    "gradient_sync": 0.0006,
    "optimizer": 0.0027,
    "validation": 0.0007,
    "checkpoint": 0.0,
    "other": 0.0008,
}
AFTER = {**BEFORE, "data_wait": 0.0083, "forward": 0.0049, "backward": 0.0061, "recompute": 0.0, "optimizer": 0.0008}
FACTS = Facts(
    device="cuda",
    parameters=11_200_000,
    optimizer="AdamW",
    batch_size=32,
    workers=0,
    peak_memory=2_610_000_000,
    peak_device_memory=9_340_000_000,
    probe_seconds=38e-6,
)


def replace(record: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(record, **fields)


def finding(**fields: Any) -> Finding:
    base = Finding(
        code="DATA01",
        title="The step waits for data that is fetched in the training loop",
        evidence=[
            "The step waits 18.1 ms of 46.5 ms (39 %) for its next batch.",
            "The loader has no workers (num_workers=0): fetching happens in the training loop.",
            "Fetching one batch takes 17.6 ms wherever it runs, on 8 cores.",
        ],
        seconds=0.0181,
        share=0.389,
        bound=1.64,
        remedy="Fetch in worker processes (`num_workers`), so that the next batch is made while this one trains. "
        "By the fetch time, 2 workers would keep up.",
        changes=["workers"],
    )
    return replace(base, **fields)


def diagnosis(**fields: Any) -> Diagnosis:
    recompute = finding(
        code="CHECKPOINT01",
        title="Activations are recomputed although they would fit in memory",
        evidence=["Recomputing takes 4.1 ms of 46.5 ms (8.8 %).", "The peak is 9.34 GB of 25.3 GB."],
        seconds=0.0041,
        share=0.088,
        bound=1.1,
        remedy="Turn activation checkpointing off, or use it for the largest stages only.",
        changes=["checkpointing"],
    )
    base = Diagnosis(
        findings=[finding(), recompute],
        will_not_help=[
            WillNotHelp(remedy="a cheaper loss", bound=1.02, reason="The loss takes 1.1 ms of 46.5 ms (2.4 %)."),
            WillNotHelp(remedy="pinned memory", bound=1.02, reason="Copying takes 0.9 ms of 46.5 ms (1.9 %)."),
        ],
        step_seconds=0.0454,
        phases=BEFORE,
        throughput=704.8,
        budget=Budget(
            wall=31.4, startup=5.2, warmup=2.9, steps=19.6, validation=2.1, checkpoint=0.9, logging=0.2, end=0.5
        ),
        steady_from=8,
        steady_steps=390,
        outliers=[120, 240],
    )
    return replace(base, **fields)


def run(n: int = 400, **fields: Any) -> Run:
    chance = random.Random(7)
    steps, t = [], 105.2
    for i in range(n):
        factor = chance.lognormvariate(0, 0.04) * (9.0 if i == 0 else 1.4 if i < 8 else 4.2 if i in (120, 240) else 1.0)
        phases = {name: value * factor for name, value in BEFORE.items()}
        steps.append(Step(i=i, t=t, wall=sum(phases.values()), phases=phases, samples=32, loss=2.3 * 0.99**i))
        t += steps[-1].wall
    info = RunInfo(
        name="2026-11-21-größe",
        command=COMMAND,
        cwd="/home/me/project",
        environment=ENVIRONMENT,
        started=100.0,
        ended=131.4,
        date="2026-11-21T09:30:00Z",
        outcome="finished",
        exit_code=0,
    )
    metrics = [Metric(name="psnr", value=28.4 + i / 40, step=i) for i in range(0, n, 100)]
    return replace(Run(info=info, facts=FACTS, steps=steps, metrics=metrics), **fields)


def effect(ratio: float = 1.83, n: int = 12, spread: float = 0.06, **fields: Any) -> Effect:
    chance = random.Random(f"{ratio} {n}")
    pairs = [ratio * chance.lognormvariate(0, spread) for _ in range(n)]
    half = 2.6 * spread * ratio / math.sqrt(max(n, 1))
    base = Effect(ratio=ratio, low=ratio - half, high=ratio + half, n=n, confidence=0.99, pairs=pairs)
    return replace(base, **fields)


def change(name: str = "workers", value: str = "2", **fields: Any) -> Change:
    titles = {"workers": "Fetch in 2 worker processes", "precision": "Compute in bfloat16"}
    numerics = {"precision": "rounding", "compile": "rounding", "batch": "trajectory"}
    base = Change(
        name=name,
        value=value,
        title=titles.get(name, f"Set {name} to {value}"),
        numerics=numerics.get(name, "exact"),  # type: ignore[arg-type]
        bound=1.64,
    )
    return replace(base, **fields)


def trial(name: str = "workers", value: str = "2", **fields: Any) -> Trial:
    base = Trial(
        change=change(name, value),
        against=[],
        effect=effect(),
        judgement="faster",
        kept=True,
        why="The interval lies above 1.02 and the losses are bit-identical.",
        first_step=4.1,
        peak_memory=3_130_000_000,
    )
    return replace(base, **fields)


def curves(seeds: int = 2, n: int = 300, shift: float = 0.0) -> list[list[float | None]]:
    made: list[list[float | None]] = []
    for seed in range(seeds):
        chance = random.Random(seed)
        made.append([0.4 + 2 * 0.985**i * (1 + shift) + chance.gauss(0, 0.03) for i in range(n)])
    return made


def same_training(**fields: Any) -> SameTraining:
    base = SameTraining(
        same=True,
        numerics="rounding",
        evidence="The losses differ by 0.004 at the end, where seeds of the baseline itself differ by 0.021.",
        baseline_losses=curves(),
        candidate_losses=curves(shift=0.004),
        metric="psnr (dB)",
        baseline_quality=[29.81, 29.94],
        candidate_quality=[29.85, 29.9],
    )
    return replace(base, **fields)


def tuning(**fields: Any) -> Tuning:
    dropped = {"judgement": "not faster", "kept": False}
    after = diagnosis(findings=[], phases=AFTER, step_seconds=0.0241, throughput=1327.0, outliers=[])
    base = Tuning(
        name="tune-größe",
        command=COMMAND,
        config="configs/restoration.yaml",
        environment=ENVIRONMENT,
        date="2026-11-21T09:40:00Z",
        seconds=1264.0,
        diagnosis=diagnosis(),
        optimized=after,
        facts=FACTS,
        no_op=effect(1.0, 12, 0.01),
        trials=[
            trial(),
            trial("precision", "bf16", effect=effect(1.29, 14), against=["workers=2"], peak_memory=2_650_000_000),
            trial("compile", "default", effect=effect(1.01, 9), why="The gain does not clear the noise.", **dropped),
            trial("fused", "true", effect=None, why="The optimizer has no fused form on this device.", **dropped),
        ],
        skipped=[
            trial("batch", "64", effect=None, peak_memory=None, why="It would be another training.", **dropped),
            trial("pin_memory", "true", effect=None, peak_memory=None, why="At most 1.02x by the findings.", **dropped),
        ],
        adopted=[change(), change("precision", "bf16")],
        effect=effect(1.91, 16, 0.04),
        judgement="faster",
        same_training=same_training(),
        break_even_steps=59_000,
        warnings=[
            "The clock of the GPU fell by 4 % during the tuning; the pairs are interleaved, so both arms saw it."
        ],
    )
    return replace(base, **fields)


def nothing_to_gain() -> Tuning:
    """Return the tuning of a healthy training: no trial, nothing adopted, everything else missing."""
    healthy = finding(
        code="HEALTHY01", title="Nothing stands out", seconds=0.0, share=0.0, bound=1.0, remedy="Nothing to do."
    )
    return tuning(
        diagnosis=diagnosis(findings=[replace(healthy, changes=[], evidence=["390 steady steps of 45 ms."])]),
        optimized=None,
        facts=Facts(),
        trials=[],
        skipped=[],
        adopted=[],
        effect=None,
        judgement="unclear",
        same_training=None,
        break_even_steps=None,
        warnings=[],
    )


def comparison(**fields: Any) -> Comparison:
    base = Comparison(
        name="compare-größe",
        date="2026-11-21T09:50:00Z",
        a=COMMAND,
        b=[*COMMAND, "--workers", "2"],
        environment=ENVIRONMENT,
        effect=effect(1.62, 20, 0.05),
        judgement="faster",
        same_training=same_training(metric=None, baseline_quality=[], candidate_quality=[]),
        a_step_seconds=0.0454,
        b_step_seconds=0.028,
        warnings=[],
    )
    return replace(base, **fields)
