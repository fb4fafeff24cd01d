"""Records of runs that were never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hotlap.records import BETWEEN, Environment, Facts, Run, RunInfo, Step

#: Seconds of a healthy step of 100 ms.
HEALTHY = {"data_wait": 0.001, "forward": 0.04, "loss": 0.008, "backward": 0.045, "optimizer": 0.003, "other": 0.003}
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
    fetch_seconds=0.02,
    convolutions=0,
    channels_last=False,
    module_calls=40,
    peak_memory=2**30,
)


class Recorded:
    """Build runs from phases, facts and steps."""

    def steps(self, rows: Sequence[dict[str, float]], t: float = 3.0, **fields: Any) -> list[Step]:
        steps = []
        for i, phases in enumerate(rows):
            step = Step(i=i, t=t, wall=sum(phases.values()), phases=phases, **{"samples": 8, **fields})
            steps.append(step)
            t += step.wall + step.paused
        return steps

    def run(
        self,
        steps: Sequence[Step] | None = None,
        *,
        phases: dict[str, float] | None = None,
        facts: dict[str, Any] | None = None,
        cores: int = 8,
        memory: int | None = 16 * 2**30,
        micro_batches: int = 1,
        n: int = 40,
    ) -> Run:
        """Return a run of ``n`` equal steps: the healthy phases with ``phases`` in their place, seconds each."""
        if steps is None:
            steps = self.steps([{**HEALTHY, **(phases or {})}] * n, micro_batches=micro_batches)
        ended = steps[-1].t + steps[-1].wall + steps[-1].paused + 0.5 if steps else 4.0
        environment = Environment(hotlap="0", python="3.11", cores=cores, memory=memory)
        info = RunInfo(
            name="r",
            command=["python", "train.py"],
            cwd="/",
            environment=environment,
            started=1.0,
            ended=ended,
            date="2026-01-01T00:00:00Z",
            outcome="finished",
        )
        known = {name: getattr(FACTS, name) for name in FACTS.__struct_fields__}
        return Run(info=info, facts=Facts(**{**known, **(facts or {})}), steps=list(steps))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


__all__ = ["BETWEEN", "FACTS", "HEALTHY", "Recorded"]
