"""What the driver tells of each card, and that what it does not tell is missing with its reason, never 0."""

from __future__ import annotations

import pynvml
import pytest
from fake_nvml import Card, Library, put_in_place

from hotlap.watch.nvml import Driver
from hotlap.watch.sample import Gpu

NOW = 1_800_000_000.0


def look(
    patch: pytest.MonkeyPatch, *cards: Card, absent: tuple[str, ...] = (), watched: frozenset[int] = frozenset()
) -> list[Gpu]:
    put_in_place(Library(list(cards), absent), patch)
    return Driver().look(watched, NOW)


def test_a_card_tells_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per cent, bytes, watts, MHz and degrees; processes with their own, and whose they are."""
    card = Card(processes={7: 1 << 30, 8: 2 << 30}, busy={7: 40}, reasons=0x04 | 0x40)
    (gpu,) = look(monkeypatch, card, watched=frozenset({7}))
    assert (gpu.name, gpu.utilization, gpu.memory_used, gpu.memory_total) == (
        "NVIDIA Fake 80GB",
        97.0,
        60 << 30,
        80 << 30,
    )
    assert (gpu.power, gpu.power_limit, gpu.clock, gpu.clock_max, gpu.temperature) == (650.0, 700.0, 1755, 1980, 64)
    assert gpu.throttled == ["power limit", "temperature, by the hardware"]
    assert gpu.processes is not None
    assert [(each.pid, each.memory, each.utilization, each.watched) for each in gpu.processes] == [
        (7, 1 << 30, 40.0, True),
        (8, 2 << 30, None, False),
    ]
    assert gpu.missing == {}


def test_idle_and_set_clocks_are_no_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits that mean no harm."""
    (gpu,) = look(monkeypatch, Card(reasons=0x01 | 0x02))
    assert gpu.throttled == []


def test_many_cards_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its own handle."""
    found = look(monkeypatch, *(Card(utilization=10 * i) for i in range(8)))
    assert [(gpu.index, gpu.utilization) for gpu in found] == [(i, 10.0 * i) for i in range(8)]


def test_fields_that_are_refused_are_missing_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card in a virtual machine, a user without permission: the other figures are there."""
    refused = {
        "nvmlDeviceGetUtilizationRates": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NO_PERMISSION,
        "nvmlDeviceGetEnforcedPowerLimit": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetProcessUtilization": pynvml.NVML_ERROR_NO_PERMISSION,
        "nvmlDeviceGetComputeRunningProcesses_v3": pynvml.NVML_ERROR_NO_PERMISSION,
    }
    (gpu,) = look(monkeypatch, Card(errors=refused))
    assert (gpu.utilization, gpu.power, gpu.power_limit, gpu.processes) == (None, None, None, None)
    assert (gpu.memory_used, gpu.lost) == (60 << 30, False)
    assert gpu.missing == {
        "utilization": "not supported",
        "power": "no permission",
        "power_limit": "not supported",
        "process utilization": "no permission",
        "processes": "no permission",
    }


def test_an_old_driver_is_asked_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes by the function that it has; a figure that it has no function for is missing."""
    absent = (
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    )
    (gpu,) = look(monkeypatch, Card(processes={7: 1}), absent=absent)
    assert [each.pid for each in gpu.processes or []] == [7]
    assert gpu.throttled is None
    assert gpu.missing == {"throttled": "the driver is too old"}


def test_a_divided_card_shows_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """MIG: the card itself has no utilization, each part has memory and processes."""
    card = Card(
        mig={0: (5 << 30, 10 << 30), 2: (1 << 30, 20 << 30)},
        processes={7: 3},
        errors={"nvmlDeviceGetUtilizationRates": pynvml.NVML_ERROR_NOT_SUPPORTED},
    )
    put_in_place(Library([card]), monkeypatch)
    (gpu,) = Driver().look({7}, NOW)
    assert gpu.utilization is None
    assert [(part.index, part.memory_used, part.memory_total) for part in gpu.mig] == [
        (0, 5 << 30, 10 << 30),
        (2, 1 << 30, 20 << 30),
    ]
    assert [each.watched for part in gpu.mig for each in part.processes or []] == [True, True]
    assert len(gpu.all_processes) == 2


def test_a_card_that_is_lost_while_watched_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are missing, not 0; the other cards go on."""
    cards = [Card(), Card()]
    library = Library(cards)
    put_in_place(library, monkeypatch)
    driver = Driver()
    assert not any(gpu.lost for gpu in driver.look((), NOW))
    cards[0].errors["*"] = pynvml.NVML_ERROR_GPU_IS_LOST
    lost, other = driver.look((), NOW + 1)
    assert (lost.lost, lost.utilization, lost.memory_used, lost.name) == (True, None, None, "NVIDIA Fake 80GB")
    assert lost.missing["utilization"] == "the GPU is lost"
    assert (other.lost, other.utilization) == (False, 97.0)
    library.calls.clear()
    cards[1].errors["*"] = pynvml.NVML_ERROR_RESET_REQUIRED
    assert [gpu.lost for gpu in driver.look((), NOW + 2)] == [True, True]
    asked = len(library.calls)
    driver.look((), NOW + 3)
    assert len(library.calls) == asked


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library, a library without a driver, a driver without cards."""
    put_in_place(None, monkeypatch)
    assert Driver().missing == "GPUs are not read: there is no NVIDIA driver (libnvidia-ml.so.1)"
    assert Driver().look((), NOW) == []
    put_in_place(Library([], refuses=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), monkeypatch)
    assert Driver().missing == "GPUs are not read: the NVIDIA driver is not loaded"
    put_in_place(Library([]), monkeypatch)
    assert Driver().missing == "GPUs are not read: the driver shows none to this process"


@pytest.mark.gpu
def test_a_real_card_tells_what_it_is() -> None:
    """The real library: a card with a name, memory and a utilization between 0 and 100."""
    driver = Driver()
    assert driver.missing is None
    for gpu in driver.look((), NOW):
        assert gpu.name
        assert gpu.memory_total
        assert gpu.memory_used is not None
        assert 0 < gpu.memory_used <= gpu.memory_total
        assert gpu.utilization is None or 0 <= gpu.utilization <= 100
    driver.close()
