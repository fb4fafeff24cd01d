# ruff: noqa: N802, N815 - the functions have the names of the library's
"""Stands for the driver's library below ``pynvml``: functions that fill in what they are given by reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

_FIRST = 0x1000
#: Handles of the parts of a card lie so far apart.
_PARTS = 0x100


@dataclass(eq=False)
class Card:
    utilization: int = 97
    used: int = 60 << 30
    total: int = 80 << 30
    #: Milliwatts.
    power: int = 650_000
    reasons: int = 0
    #: Bytes by process.
    processes: dict[int, int] = field(default_factory=dict)
    #: Per cent by process.
    busy: dict[int, int] = field(default_factory=dict)
    #: Memory of its parts, by number.
    mig: dict[int, tuple[int, int]] | None = None
    #: Error codes by function; "*" is for all.
    errors: dict[str, int] = field(default_factory=dict)


class Library:
    """``absent``: functions that this driver does not have. ``refuses``: the error with which it does not begin."""

    def __init__(self, cards: list[Card], absent: tuple[str, ...] = (), refuses: int = 0) -> None:
        self.cards = cards
        self.refuses = refuses
        self.absent = absent
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self.absent or not name.startswith("nvml"):
            raise AttributeError(name)
        answer = getattr(type(self), f"_{name}")

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if arguments and isinstance(arguments[0], pynvml.c_nvmlDevice_t):
                card = self._card(arguments[0])
                code = card.errors.get("*", card.errors.get(name, 0))
                return code or answer(self, card, *arguments[1:]) or 0
            return answer(self, *arguments) or 0

        return call

    def _card(self, handle: Any) -> Card:
        address = ctypes.cast(handle, ctypes.c_void_p).value or 0
        return self.cards[(address - _FIRST) // _PARTS]

    def _nvmlInitWithFlags(self, flags: Any) -> int:
        return self.refuses

    def _nvmlShutdown(self) -> None:
        pass

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = len(self.cards)

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> None:
        _point(handle, _FIRST + _PARTS * index.value)

    def _nvmlDeviceGetName(self, card: Card, name: Any, length: Any) -> None:
        name.value = b"NVIDIA Fake 80GB"

    def _nvmlDeviceGetUUID(self, card: Card, uuid: Any, length: Any) -> None:
        uuid.value = f"GPU-{self.cards.index(card)}0aa".encode()

    def _nvmlDeviceGetEnforcedPowerLimit(self, card: Card, limit: Any) -> None:
        limit._obj.value = 700_000

    def _nvmlDeviceGetMaxClockInfo(self, card: Card, kind: Any, clock: Any) -> None:
        clock._obj.value = 1980

    def _nvmlDeviceGetClockInfo(self, card: Card, kind: Any, clock: Any) -> None:
        clock._obj.value = 1755

    def _nvmlDeviceGetUtilizationRates(self, card: Card, rates: Any) -> None:
        rates._obj.gpu = card.utilization

    def _nvmlDeviceGetMemoryInfo(self, card: Card, memory: Any) -> None:
        memory._obj.used, memory._obj.total = card.used, card.total

    def _nvmlDeviceGetPowerUsage(self, card: Card, power: Any) -> None:
        power._obj.value = card.power

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, card: Card, reasons: Any) -> None:
        reasons._obj.value = card.reasons

    def _nvmlDeviceGetTemperature(self, card: Card, sensor: Any, temperature: Any) -> None:
        temperature._obj.value = 64

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, card: Card, count: Any, found: Any) -> int:
        if not card.processes:
            count._obj.value = 0
            return 0
        if found is None:
            count._obj.value = len(card.processes)
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for i, (pid, memory) in enumerate(card.processes.items()):
            found[i].pid, found[i].usedGpuMemory = pid, memory
        count._obj.value = len(card.processes)
        return 0

    _nvmlDeviceGetComputeRunningProcesses_v2 = _nvmlDeviceGetComputeRunningProcesses_v3

    def _nvmlDeviceGetProcessUtilization(self, card: Card, found: Any, count: Any, since: Any) -> int:
        if not card.busy:
            return pynvml.NVML_ERROR_NOT_FOUND
        if found is None:
            count._obj.value = len(card.busy)
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for i, (pid, share) in enumerate(card.busy.items()):
            found[i].pid, found[i].smUtil = pid, share
        return 0

    def _nvmlDeviceGetMigMode(self, card: Card, current: Any, pending: Any) -> None:
        current._obj.value = card.mig is not None

    def _nvmlDeviceGetMaxMigDeviceCount(self, card: Card, count: Any) -> None:
        count._obj.value = 7

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, index: Any, handle: Any) -> int:
        part = (card.mig or {}).get(index.value)
        if part is None:
            return pynvml.NVML_ERROR_NOT_FOUND
        # A part answers as a card of its own.
        self.cards.append(Card(used=part[0], total=part[1], processes=card.processes))
        _point(handle, _FIRST + _PARTS * (len(self.cards) - 1))
        return 0


def _point(handle: Any, address: int) -> None:
    ctypes.cast(ctypes.pointer(handle._obj), ctypes.POINTER(ctypes.c_void_p))[0] = address


def put_in_place(library: Library | None, patch: pytest.MonkeyPatch) -> None:
    """None: this machine has no driver."""

    def load(name: str) -> Library:
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    patch.setattr(pynvml, "nvmlLib", None)
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    patch.setattr(pynvml, "CDLL", load)
