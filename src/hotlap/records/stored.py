"""Two runs that were recorded at different times, side by side."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA, Effect
from hotlap.records.results import Judgement


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared of a run. Seconds are those of its diagnosis."""

    name: str
    date: str
    command: list[str]
    outcome: str
    steps: int
    steady_steps: int
    #: Median of the steady steps, and means of their leaf phases.
    step_seconds: float
    phases: dict[str, float]
    throughput: float | None
    #: Samples of a step (median); None where they were not seen.
    samples: float | None
    peak_memory: int | None
    peak_device_memory: int | None


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is not the same in both."""

    name: str
    a: str
    b: str
    #: Whether it makes seconds of the two no measure of each other: another device, batch, or number of ranks.
    decides: bool = False


class FindingShift(msgspec.Struct, frozen=True, kw_only=True):
    """A finding in A and in B: seconds of a step at stake, None where it is not there."""

    code: str
    title: str
    a: float | None
    b: float | None
    state: Literal["came", "went", "changed", "stayed"]


class StoredComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``hotlap compare RUN RUN``: what differs between two recordings, which is no proof of a cause."""

    schema: int = SCHEMA
    a: StoredRun
    b: StoredRun
    #: Sentences on the machine, the versions and the environment.
    environment: list[str]
    configuration: list[Differing]
    #: Of blocks of steps, one of each run at a time; B's throughput by A's.
    effect: Effect
    unit: Literal["samples", "steps"]
    #: What the effect says of these two recordings.
    judgement: Judgement
    findings: list[FindingShift]
    #: True where the losses are bit-identical, else unknown: other seeds give other losses.
    same_losses: bool | None
    losses: str
    #: What stands against believing the figures, and what two recordings cannot tell at all.
    warnings: list[str] = []
    limits: list[str] = []

    @property
    def comparable(self) -> bool:
        return not self.environment and not any(each.decides for each in self.configuration)
