"""How the machine is while a training runs: memory, processor, GPU, disk. What cannot be read is None, never 0."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import psutil
import torch

from hotlap.data import SampleCache
from hotlap.train.config.goals import CRITICAL_MEMORY
from hotlap.train.ranks import Ranks


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Means since the last look, or the state at it."""

    #: Bytes that this process and its workers hold for themselves, shared memory divided among those who share it.
    process_memory: int | None
    #: Bytes in use of the whole machine, and all there are.
    system_memory: int
    total_memory: int
    #: Per cent of all cores, of the whole machine.
    cpu: float
    #: Milliseconds of a step in which the training waited for its data.
    data_time_ms: float
    #: Milliseconds of a step, what was done between steps included.
    step_ms: float
    #: Per cent of the processors' time in which one had nothing to do but wait for a disk.
    disk_wait: float | None
    #: Per cent of the time in which the GPU computed, as its driver says.
    gpu_utilization: float | None = None
    gpu_allocated: int | None = None
    gpu_reserved: int | None = None
    gpu_peak: int | None = None
    gpu_total: int | None = None
    #: Samples that the cache gave, and those that were fetched, by all processes of the node since the training began.
    cache_hits: int | None = None
    cache_misses: int | None = None
    #: Bytes that the cache holds, and the most that it may.
    cache_bytes: int | None = None
    cache_budget: int | None = None

    @property
    def critical(self) -> bool:
        return self.system_memory > CRITICAL_MEMORY * self.total_memory

    @property
    def hit_rate(self) -> float | None:
        """Per cent of what was asked of the cache."""
        if self.cache_hits is None or self.cache_misses is None or not self.cache_hits + self.cache_misses:
            return None
        return 100 * self.cache_hits / (self.cache_hits + self.cache_misses)


class Monitor:
    """Looks at the machine now and then."""

    def __init__(self, ranks: Ranks, cache: SampleCache | None) -> None:
        self._device, self._cache = ranks.device, cache
        self._process = psutil.Process()
        self._since, self._step = time.monotonic(), 0
        self._waited = 0.0
        self._times = psutil.cpu_times()
        psutil.cpu_percent()  # from here on

    def look(self, step: int, waited: float) -> Health:
        """After ``step`` steps here, for which ``waited`` seconds were waited for data in all."""
        now, times, memory = time.monotonic(), psutil.cpu_times(), psutil.virtual_memory()
        on_gpu = self._device.type == "cuda"
        steps = max(step - self._step, 1)
        kept = None if self._cache is None else self._cache.stats()
        health = Health(
            process_memory=_memory(self._process),
            system_memory=memory.total - memory.available,
            total_memory=memory.total,
            cpu=psutil.cpu_percent(),
            data_time_ms=round(1e3 * (waited - self._waited) / steps, 3),
            step_ms=round(1e3 * (now - self._since) / steps, 3),
            disk_wait=_disk_wait(self._times, times),
            gpu_utilization=_utilization(self._device) if on_gpu else None,
            gpu_allocated=torch.cuda.memory_allocated(self._device) if on_gpu else None,
            gpu_reserved=torch.cuda.memory_reserved(self._device) if on_gpu else None,
            gpu_peak=torch.cuda.max_memory_reserved(self._device) if on_gpu else None,
            gpu_total=torch.cuda.mem_get_info(self._device)[1] if on_gpu else None,
            cache_hits=None if kept is None else kept.hits,
            cache_misses=None if kept is None else kept.misses,
            cache_bytes=None if kept is None else kept.bytes,
            cache_budget=None if kept is None else kept.budget,
        )
        self._since, self._step, self._waited, self._times = now, step, waited, times
        return health


def _utilization(device: torch.device) -> float | None:
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # whatever the driver's library says where it is missing
        return None


def _memory(process: psutil.Process) -> int | None:
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            total += each.memory_full_info().pss
    except (psutil.Error, AttributeError):  # a worker that ended meanwhile; a system that does not know PSS
        return None
    return total


def _disk_wait(before: Any, after: Any) -> float | None:
    if not hasattr(after, "iowait"):
        return None
    passed = sum(after[:8]) - sum(before[:8])  # without guests, whose time is in the others'
    return round(100 * (after.iowait - before.iowait) / passed, 2) if passed > 0 else None
