"""The whole machine between two looks: processors, memory, disks, network."""

from __future__ import annotations

from typing import Any, NamedTuple

import psutil

from hotlap.watch.sample import Machine
from hotlap.workers import usable_cores


class _Counters(NamedTuple):
    at: float
    processors: Any
    disks: Any
    network: Any


class MachineSensor:
    def __init__(self, now: float) -> None:
        self._cores = usable_cores()
        self._before = _counters(now)

    def look(self, now: float) -> Machine:
        """``now``: seconds of any clock that goes on evenly."""
        before, after = self._before, _counters(now)
        self._before = after
        memory = psutil.virtual_memory()
        seconds = after.at - before.at

        def rate(counters: str, name: str) -> float | None:
            old, new = (getattr(getattr(each, counters), name, None) for each in (before, after))
            return None if old is None or new is None or seconds <= 0 else max(0.0, (new - old) / seconds)

        return Machine(
            cpu=_busy(before.processors, after.processors),
            disk_wait=_share(before.processors, after.processors, "iowait"),
            cores=self._cores,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            disk_read=rate("disks", "read_bytes"),
            disk_write=rate("disks", "write_bytes"),
            net_received=rate("network", "bytes_recv"),
            net_sent=rate("network", "bytes_sent"),
        )


def _counters(now: float) -> _Counters:
    return _Counters(now, psutil.cpu_times(), _or_none(psutil.disk_io_counters), _or_none(psutil.net_io_counters))


def _or_none(ask: Any) -> Any:
    """What a container may hide, and some systems do not count."""
    try:
        return ask()
    except (OSError, RuntimeError, NotImplementedError):
        return None


def _passed(before: Any, after: Any) -> float:
    """Core-seconds, without those of guests, which are in the others'."""
    return float(sum(after[:8]) - sum(before[:8]))


def _share(before: Any, after: Any, name: str) -> float | None:
    passed = _passed(before, after)
    if passed <= 0 or not hasattr(after, name):
        return None
    return float(max(0.0, 100 * (getattr(after, name) - getattr(before, name)) / passed))


def _busy(before: Any, after: Any) -> float | None:
    idle = _share(before, after, "idle")
    return None if idle is None else max(0.0, 100 - idle - (_share(before, after, "iowait") or 0.0))
