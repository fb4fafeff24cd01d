"""Everything a family needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotlap.diagnose import Machine
from hotlap.records import UNCOUNTED, Diagnosis, Environment, Facts, Finding, Goal


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    environment: Environment
    machine: Machine
    #: Values of the configuration's keys that hotlap knows, None where the command has no such configuration.
    keys: Mapping[str, Any] | None = None
    #: What the tuning is to make better.
    goal: Goal = "throughput"
    #: Bytes that the training may take: of its GPU where it has one, of the machine otherwise.
    memory_limit: int | None = None
    #: Peaks that were measured, by the micro-batch.
    peaks: Mapping[int, int] = {}

    @property
    def peak(self) -> int | None:
        """Bytes that it takes now, of what the limit is for."""
        facts = self.facts
        return facts.peak_memory if facts.peak_device_memory is None else facts.peak_device_memory

    @property
    def wants_memory(self) -> bool:
        """Whether memory is worth time: it is the goal, or there is less of it than the training takes."""
        limit, peak = self.memory_limit, self.peak
        return self.goal == "memory" or (limit is not None and peak is not None and peak > limit)

    @property
    def step_seconds(self) -> float:
        """The mean step as throughput counts it."""
        return sum(seconds for phase, seconds in self.diagnosis.phases.items() if phase not in UNCOUNTED)

    def bound(self, *phases: str, speedup: float | None = None) -> float:
        """The most that speeding these phases up by ``speedup`` (None: to nothing) could give."""
        seconds = sum(self._most(phase) for phase in phases)
        return self.bound_of(seconds if speedup is None else seconds * (1 - 1 / speedup))

    def _most(self, phase: str) -> float:
        """Seconds of the host, or of the GPU, to which it only hands the work over."""
        host = self.diagnosis.phases.get(phase, 0.0)
        device = self.diagnosis.device.phases.get(phase) if self.diagnosis.device else None
        return host if device is None else max(host, device.at_most)

    def bound_of(self, seconds: float) -> float:
        """The most that saving so many seconds of a step could give."""
        return 1 / max(1 - seconds / self.step_seconds, 1e-3) if self.step_seconds > 0 else 1.0

    @property
    def ranks(self) -> int:
        """Processes of the training on this machine that share its cores and its memory."""
        return max(self.facts.world_size, 1)

    def found(self, code: str) -> Finding | None:
        return next((finding for finding in self.diagnosis.findings if finding.code == code), None)

    @property
    def on_cpu(self) -> bool:
        return self.facts.device in (None, "cpu")

    def key(self, name: str) -> Any:
        return None if self.keys is None else self.keys.get(name)

    def has(self, *names: str) -> bool:
        return self.keys is not None and all(name in self.keys for name in names)
