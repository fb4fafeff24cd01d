"""Seconds of a device from the lines of a record."""

from __future__ import annotations

from typing import Any

import pytest

from hotlap.launch.decoding import Decoder
from hotlap.launch.devices import device_of
from hotlap.records import DevicePhases

US = 1_000
PLAN = {"k": "plan", "id": 3, "phases": ["data_wait", "other", "forward"], "slots": [0, 1, 2], "micro_batches": 1}


def step(host: list[int], device: list[int], slack: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Times in microseconds, from the mark "other" of a step to that of the next."""
    made = {"i": 7, "plan": 3, "first": 1, "held": False, "slack": slack if slack is None else slack * US}
    made |= {"host": [each * US for each in host], "device": [each * US for each in device]}
    return made | fields


def read(*steps: dict[str, Any]) -> DevicePhases | None:
    return device_of(Decoder().decode([PLAN, {"k": "device", "steps": list(steps)}]))


def test_marks_have_the_phases_of_the_plan() -> None:
    """A step that is seen from its second mark on ends with the first mark of the next, and a piece of the second."""
    # other 10, forward 2000, data_wait 500, other 30; the device is behind by 1000 at the end of the forward.
    found = read(step([0, 10, 2010, 2510, 2540], [5, 15, 3010, 3010, 3010]))
    assert found is not None
    assert list(found.phases) == ["other", "forward", "data_wait"]
    assert found.wall == pytest.approx(2540e-6)
    assert found.phases["other"].host == pytest.approx(40e-6)
    forward = found.phases["forward"]
    assert (forward.host, forward.elapsed) == (pytest.approx(2000e-6), pytest.approx(2995e-6))
    assert (forward.at_least, forward.at_most) == (pytest.approx(1000e-6), pytest.approx(2995e-6))
    assert found.phases["data_wait"].at_most == 0
    assert found.dry == 0


@pytest.mark.parametrize(("slack", "dry"), [(0, 1.0), (50, 1.0), (500, 0.0), (None, 0.0)])
def test_a_device_has_run_dry_only_for_certain(slack: int | None, dry: float) -> None:
    """Where the clocks are tied too loosely, or not at all, nothing is claimed."""
    found = read(step([0, 10, 2010, 2510, 2540], [5, 15, 2030, 2515, 2545], slack))
    assert found is not None
    assert found.dry == dry


def test_steps_for_which_the_device_was_held_narrow_the_bounds() -> None:
    usual = step([0, 10, 2010, 2510, 2540], [5, 15, 2030, 2515, 2545])
    held = step([0, 10, 2010, 2510, 2540], [3000, 3000, 3400, 3400, 3400], None, held=True)
    found = read(usual, held)
    assert found is not None
    assert (found.steps, found.held) == (1, 1)
    assert found.phases["forward"].at_least == found.phases["forward"].at_most == pytest.approx(400e-6)
    assert found.phases["forward"].elapsed == pytest.approx(2015e-6)


def test_what_is_not_known() -> None:
    """No line, only steps for which the device was held, or a record that lost its plans."""
    assert device_of([]) is None
    assert read(step([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], held=True)) is None
    assert device_of(Decoder().decode([{"k": "device", "steps": [step([0], [0])]}])) is None
