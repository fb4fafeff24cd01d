"""Whose seconds a finding is made of where a GPU computes: the host's, or its own."""

from __future__ import annotations

from typing import Any

import pytest
from planted import HEALTHY, device, run

from hotlap.diagnose import Machine, diagnose
from hotlap.diagnose.context import Context
from hotlap.records import DevicePhases, Finding

CUDA = {"device": "cuda", "module_calls": 40}


def context(seen: DevicePhases | None, facts: dict[str, Any] = CUDA, **phases: float) -> Context:
    return Context(run(facts=facts, phases=phases, happened={"device": seen}))


def found(context: Context, machine: Machine | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in diagnose(context.run, machine).findings}


def test_what_the_device_takes() -> None:
    """Only where it is known, and only of a GPU."""
    assert context(device(0.5)).device_seconds("forward") == pytest.approx(0.02)
    assert context(device(0.5, known=0.9)).device_seconds("forward") == pytest.approx(0.019)
    assert context(device(0.5, known=0.5)).device_seconds("forward") is None
    assert context(device(0.5)).device_seconds("recompute") is None
    assert context(None).device_seconds("forward") is None
    assert context(device(0.5), facts={}).device_seconds("forward") is None


#: The host hands the step over in no time, and waits where it reads the loss. The device computes all the while.
BEHIND = {"forward": 0.001, "loss": 0.001, "backward": 0.001, "optimizer": 0.001, "other": 0.095}


def test_a_device_that_sets_the_pace() -> None:
    """The step is bound by arithmetic although the host spends it waiting, which nothing has to explain."""
    behind = context(device(1.0, dry=0.0), **BEHIND)
    assert behind.device_bound
    assert behind.compute == pytest.approx(HEALTHY["forward"] + HEALTHY["backward"])
    assert set(found(behind)) == {"COMPUTE01"}
    assert "OTHER01" in found(context(None, **BEHIND))


def test_what_the_device_takes_for_the_loss_and_the_optimizer() -> None:
    """Of a device that sets the pace, its own seconds are at stake."""
    slow = {"forward": 0.02, "loss": 0.035, "backward": 0.02, "optimizer": 0.02, "other": 0.005}
    seen = device(1.0, dry=0.0, phases=slow)
    at_stake = {code: finding.seconds for code, finding in found(context(seen, **BEHIND)).items()}
    assert at_stake == {"LOSS01": pytest.approx(0.035), "OPTIMIZER01": pytest.approx(0.02)}


def test_precision_is_about_the_device() -> None:
    """A faster number format makes the device's arithmetic faster, not the host's."""
    finding = found(context(device(1.0, dry=0.0), **BEHIND), Machine(bf16_matmul_speedup=2.0))["PRECISION01"]
    assert finding.seconds == pytest.approx(0.0425)


def test_a_device_that_waits_leaves_the_seconds_to_the_host() -> None:
    waiting = context(device(0.2))
    assert not waiting.device_bound
    assert waiting.compute == pytest.approx(HEALTHY["forward"] + HEALTHY["backward"])
    finding = found(waiting)["HOST07"]
    assert finding.seconds == pytest.approx(0.8 * 0.096)
    assert any("19 % of the step" in line for line in finding.evidence)


def test_a_compiled_model_is_not_told_to_compile() -> None:
    finding = found(context(device(0.2), facts={**CUDA, "compiled": True}))["HOST07"]
    assert finding.changes == []
    assert finding.remedy.startswith("It is compiled already")


def test_waiting_for_a_busy_device_is_nobodys_fault() -> None:
    """The copy, the loader and the log wait where the device is behind; only what it idles could be saved."""
    copies = {**BEHIND, "other": 0.001, "host_to_device": 0.05, "data_wait": 0.02, "logging": 0.024}
    own = {**HEALTHY, "host_to_device": 0.001}
    seen = device(1.0, dry=0.0, phases=own)
    facts = {**CUDA, "workers": 2, "pin_memory": False}
    behind = context(seen, facts=facts, **copies)
    assert behind.device_bound
    assert set(found(behind)) == {"COMPUTE01"}
    assert {"COPY01", "LOOP03"} <= set(found(context(None, facts=facts, **copies)))


def remedies(context: Context) -> set[str]:
    return {item.remedy for item in diagnose(context.run).will_not_help}


def test_what_is_said_not_to_help_is_small_on_the_device_too() -> None:
    """The host hands the loss and the optimizer over in no time, which says nothing about how long they take."""
    slow = {"forward": 0.02, "loss": 0.035, "backward": 0.02, "optimizer": 0.02, "other": 0.005}
    quick = {"forward": 0.05, "loss": 0.0001, "backward": 0.05, "optimizer": 0.0001, "other": 0.001}
    both = {"a faster optimizer", "a cheaper loss"}
    assert not both & remedies(context(device(1.0, dry=0.0, phases=slow), **BEHIND))
    assert not both & remedies(context(None, **BEHIND))
    assert both <= remedies(context(device(1.0, dry=0.0, phases=quick), **BEHIND))
