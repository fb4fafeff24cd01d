"""GPUs, as the driver's own library (NVML) describes them.

Every figure is asked for by itself: a card in a virtual machine, one that is divided (MIG) or a user without
permission has some of them and not others. What is not there is None, and ``Gpu.missing`` says why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any, TypeVar

from hotlap.watch.sample import Gpu, GpuProcess, MigInstance

T = TypeVar("T")

#: Reasons for lower clocks, as bits. Two that mean no harm are left out: nothing to do, and clocks that somebody set.
_REASONS = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x10: "sync boost with other cards",
    0x20: "temperature",
    0x40: "temperature, by the hardware",
    0x80: "power brake",
    0x100: "display clocks",
}
_MICROSECONDS = 1_000_000


class Driver:
    """The driver's library, opened once. ``missing`` says in a sentence why there is none."""

    def __init__(self) -> None:
        self.missing: str | None = None
        self._cards: list[_Card] = []
        self._nvml: ModuleType | None = None
        try:
            import pynvml
        except ImportError:
            self.missing = "GPUs are not read: the package nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.missing = f"GPUs are not read: {_why(pynvml, error)}"
            return
        self._nvml = pynvml
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.missing = f"GPUs are not read: {_why(pynvml, error)}"
            return
        self._cards = [_Card(pynvml, index) for index in range(count)]
        if not self._cards:
            self.missing = "GPUs are not read: the driver shows none to this process"

    def look(self, watched: Collection[int], now: float) -> list[Gpu]:
        """``watched``: the processes of the training. ``now``: UNIX time."""
        return [card.look(watched, now) for card in self._cards]

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None


class _Card:
    def __init__(self, nvml: ModuleType, index: int) -> None:
        self._nvml = nvml
        self._index = index
        self._lost = False
        self._missing: dict[str, str] = {}
        self._since = 0.0
        self._handle = self._ask("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        # These stay as they are.
        self._name = self._of("name", nvml.nvmlDeviceGetName)
        self._uuid = self._of("uuid", nvml.nvmlDeviceGetUUID)
        self._power_limit = self._of("power_limit", nvml.nvmlDeviceGetEnforcedPowerLimit)
        self._clock_max = self._of("clock_max", lambda card: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_SM))
        mode = self._of("mig", nvml.nvmlDeviceGetMigMode)
        self._divided = mode is not None and bool(mode[0])
        self._always = {name: why for name, why in self._missing.items() if name != "mig"}

    def look(self, watched: Collection[int], now: float) -> Gpu:
        nvml = self._nvml
        self._missing = dict(self._always)
        utilization = self._of("utilization", nvml.nvmlDeviceGetUtilizationRates)
        memory = self._of("memory_used", nvml.nvmlDeviceGetMemoryInfo)
        power = self._of("power", nvml.nvmlDeviceGetPowerUsage)
        reasons = self._of("throttled", nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return Gpu(
            index=self._index,
            name=_text(self._name),
            uuid=_text(self._uuid),
            utilization=None if utilization is None else float(utilization.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power=None if power is None else power / 1000,
            power_limit=None if self._power_limit is None else self._power_limit / 1000,
            clock=self._of("clock", lambda card: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
            clock_max=self._clock_max,
            temperature=self._of(
                "temperature", lambda card: nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)
            ),
            throttled=None if reasons is None else [name for bit, name in _REASONS.items() if reasons & bit],
            processes=self._processes(self._handle, watched, self._busy(now)),
            mig=self._instances(watched) if self._divided else [],
            lost=self._lost,
            missing=self._missing,
        )

    def _of(self, figure: str, ask: Callable[[Any], T]) -> T | None:
        return None if self._handle is None else self._ask(figure, lambda: ask(self._handle))

    def _ask(self, figure: str, ask: Callable[[], T]) -> T | None:
        if self._lost:
            return None
        try:
            return ask()
        except self._nvml.NVMLError as error:
            # A card that must be reset answers nothing either.
            self._lost = error.value in (self._nvml.NVML_ERROR_GPU_IS_LOST, self._nvml.NVML_ERROR_RESET_REQUIRED)
            self._missing[figure] = _why(self._nvml, error)
            return None

    def _processes(self, handle: Any, watched: Collection[int], busy: dict[int, float]) -> list[GpuProcess] | None:
        nvml = self._nvml

        def ask() -> list[Any]:
            try:
                found: list[Any] = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
            except nvml.NVMLError as error:
                if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                    raise
                found = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)  # a driver from before 2021
            return found

        found = None if handle is None else self._ask("processes", ask)
        if found is None:
            return None
        return [
            GpuProcess(
                pid=each.pid,
                memory=each.usedGpuMemory,
                utilization=busy.get(each.pid),
                watched=each.pid in watched,
            )
            for each in found
        ]

    def _busy(self, now: float) -> dict[int, float]:
        """Per cent of the time by process, since the last look; the driver keeps some seconds of it."""
        nvml, since, self._since = self._nvml, self._since or now - 1, now

        def ask() -> list[Any]:
            try:
                samples: list[Any] = nvml.nvmlDeviceGetProcessUtilization(self._handle, int(since * _MICROSECONDS))
                return samples
            except nvml.NVMLError as error:
                if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):  # nothing ran
                    return []
                raise

        samples = None if self._handle is None else self._ask("process utilization", ask)
        found: dict[int, list[int]] = {}
        for sample in samples or []:
            if sample.pid and sample.smUtil <= 100:
                found.setdefault(sample.pid, []).append(sample.smUtil)
        return {pid: sum(each) / len(each) for pid, each in found.items()}

    def _instances(self, watched: Collection[int]) -> list[MigInstance]:
        nvml = self._nvml
        found = []
        for index in range(self._of("mig", nvml.nvmlDeviceGetMaxMigDeviceCount) or 0):
            try:
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(self._handle, index)
            except nvml.NVMLError:
                continue  # no instance has this number
            memory = self._ask("mig memory", lambda part=part: nvml.nvmlDeviceGetMemoryInfo(part))  # type: ignore[misc]
            found.append(
                MigInstance(
                    index=index,
                    memory_used=None if memory is None else int(memory.used),
                    memory_total=None if memory is None else int(memory.total),
                    processes=self._processes(part, watched, {}),
                )
            )
        return found


def _text(words: str | bytes | None) -> str | None:
    return words.decode(errors="replace") if isinstance(words, bytes) else words


def _why(nvml: ModuleType, error: Any) -> str:
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver (libnvidia-ml.so.1)",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        nvml.NVML_ERROR_NO_PERMISSION: "no permission",
        nvml.NVML_ERROR_NOT_SUPPORTED: "not supported",
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the driver is too old",
        nvml.NVML_ERROR_GPU_IS_LOST: "the GPU is lost",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated, and this machine not restarted since",
    }
    return known.get(error.value) or str(error)
