"""Figures in the evidence, as a person reads them."""

from __future__ import annotations

import pytest

from hotlap.diagnose.rules.base import number, time


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (312.0, 2, "312"),
        (99.7, 2, "100"),
        (12.34, 2, "12"),
        (0.043, 2, "0.043"),
        (12345.0, 3, "12,345"),
        (1.5, 3, "1.5"),
    ],
)
def test_no_figure_needs_an_exponent(value: float, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.99961, "1 s"),
        (0.9994, "999 ms"),
        (999.6e-6, "1 ms"),
        (45e-6, "45 µs"),
        (1234.5, "1,234 s"),
        (0.0123, "12.3 ms"),
    ],
)
def test_times_next_to_a_larger_unit(seconds: float, shown: str) -> None:
    assert time(seconds) == shown
