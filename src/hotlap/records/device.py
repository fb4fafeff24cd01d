"""What a GPU does in the phases of a step, seen from the host without waiting for it."""

from __future__ import annotations

import msgspec


class DevicePhase(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a step, medians over those that were watched."""

    #: Of the host, and between the events at the ends of the phase on the device's own clock.
    host: float
    elapsed: float
    #: For how long the device worked in ``elapsed``. Where it may have run dry only bounds are known.
    at_least: float
    at_most: float


class DevicePhases(msgspec.Struct, frozen=True, kw_only=True):
    """Of one stream, that of the training: what other streams do (copies, collectives) is not seen."""

    #: Steps that were watched as they run, and those for which the device was held until the host was ahead.
    steps: int
    held: int
    #: Seconds from the beginning of a watched step to that of the next.
    wall: float
    phases: dict[str, DevicePhase]
    #: Share of the marks that end a phase of computing at which the device had nothing left to do.
    dry: float
    #: Seconds in which the host may have waited for the device: it had work, and none any more when they were over.
    host_waits: float

    @property
    def busy_at_least(self) -> float:
        """Share of the step, 0 to 1."""
        return self._share(sum(phase.at_least for phase in self.phases.values()))

    @property
    def busy_at_most(self) -> float:
        return self._share(sum(phase.at_most for phase in self.phases.values()))

    def _share(self, seconds: float) -> float:
        return min(1.0, seconds / self.wall) if self.wall > 0 else 0.0
