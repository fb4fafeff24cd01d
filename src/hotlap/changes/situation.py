"""Everything a family needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotlap.diagnose import Machine
from hotlap.records import UNCOUNTED, Diagnosis, Environment, Facts


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    environment: Environment
    machine: Machine
    #: Values of the configuration's keys that hotlap knows, None where the command has no such configuration.
    keys: Mapping[str, Any] | None = None

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
    def on_cpu(self) -> bool:
        return self.facts.device in (None, "cpu")

    def key(self, name: str) -> Any:
        return None if self.keys is None else self.keys.get(name)

    def has(self, *names: str) -> bool:
        return self.keys is not None and all(name in self.keys for name in names)
