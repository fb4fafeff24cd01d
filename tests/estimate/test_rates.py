"""Seconds of counted work; on rates that are made up."""

from __future__ import annotations

import pytest

from hotlap.estimate.rates import timed
from hotlap.records import Calls, Rate, Rates, Work

CPU = Rates(
    device="cpu",
    table=[
        Rate(kind="product", dtype="float32", points=[(10.0, 1e9), (1000.0, 100e9)]),
        Rate(kind="elementwise", dtype="float32", points=[(1.0, 10e9)]),
        Rate(kind="heavy", dtype="float32", points=[(1.0, 1e9)]),
    ],
    overhead=1e-3,
)


def seconds(rates: Rates = CPU, **call: object) -> float:
    return timed(Work(calls=[Calls(phase="forward", dtype="float32", **call)]), rates).seconds  # type: ignore[arg-type]


def test_a_rate_between_two_widths_is_in_between() -> None:
    """In powers, as the widths; beyond the ends it stays."""
    for width, rate in ((1, 1e9), (10, 1e9), (100, 10e9), (1000, 100e9), (5000, 100e9)):
        assert seconds(kind="product", flops=1e9, width=width) == pytest.approx(1e9 / rate + 1e-3)


def test_the_longer_of_computing_and_moving() -> None:
    assert seconds(kind="product", flops=1e6, bytes=1e9, width=1000) == pytest.approx(0.1 + 1e-3)


def test_all_else_moves_bytes() -> None:
    """At its own rate, or at that of elementwise operators where that is not known; a view is a call."""
    assert seconds(kind="heavy", bytes=1e9) == pytest.approx(1 + 1e-3)
    assert seconds(kind="sampling", bytes=1e9) == pytest.approx(0.1 + 1e-3)
    assert seconds(kind="view", count=5) == pytest.approx(5e-3)


def test_another_type_or_kind_takes_what_is_known() -> None:
    work = Work(
        calls=[Calls(phase="backward", kind="convolution_backward_last", dtype="bfloat16", flops=1e9, width=10)]
    )
    found = timed(work, CPU)
    assert found.seconds == pytest.approx(1 + 1e-3)
    assert found.phases == {"backward": pytest.approx(found.seconds)}


def test_the_host_of_a_gpu_runs_ahead() -> None:
    """The longer of both decides; on the device there is a gap after each kernel."""
    gpu = Rates(device="gpu", table=CPU.table, overhead=1e-3, gap=1e-4)
    assert seconds(gpu, kind="heavy", bytes=1e9) == pytest.approx(1 + 1e-4)
    found = timed(Work(calls=[Calls(phase="forward", kind="view", dtype="", count=7)]), gpu)
    assert (found.seconds, found.host) == (pytest.approx(7e-3), pytest.approx(7e-3))


def test_factors() -> None:
    """What a training takes of each part over what single operators took."""
    slow = Rates(device="cpu", table=CPU.table, overhead=1e-3, factors={"moving": 2.0, "calls": 3.0})
    assert seconds(slow, kind="heavy", bytes=1e9) == pytest.approx(2 + 3e-3)
