"""Everything a family needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotlap.diagnose import Machine
from hotlap.records import Diagnosis, Environment, Facts


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    environment: Environment
    machine: Machine
    #: Values of the configuration's keys that hotlap knows, None where the command has no such configuration.
    keys: Mapping[str, Any] | None = None

    def share(self, *phases: str) -> float:
        """Share of the mean step that these phases take together, 0 to 1."""
        total = sum(self.diagnosis.phases.values())
        return sum(self.diagnosis.phases.get(phase, 0.0) for phase in phases) / total if total > 0 else 0.0

    def bound(self, *phases: str, speedup: float | None = None) -> float:
        """The most that speeding these phases up by ``speedup`` (None: to nothing) could give."""
        share = self.share(*phases)
        left = 0.0 if speedup is None else 1 / speedup
        return 1 / max(1 - share * (1 - left), 1e-3)

    @property
    def on_cpu(self) -> bool:
        return self.facts.device in (None, "cpu")

    def key(self, name: str) -> Any:
        return None if self.keys is None else self.keys.get(name)

    def has(self, *names: str) -> bool:
        return self.keys is not None and all(name in self.keys for name in names)
