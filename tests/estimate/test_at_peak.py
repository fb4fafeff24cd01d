"""A step's operations at the card's peak, in the fastest precision that they may have."""

from __future__ import annotations

import pytest

from hotlap.estimate.at_peak import seconds_at_peak
from hotlap.estimate.cards import find
from hotlap.estimate.tracker import Kind
from hotlap.train.config import RestorationConfig

FLOPS: dict[Kind, float] = {"convolution": 1e12, "product": 3e12}
H100 = find("H100 SXM 80GB")
assert H100.fp32
assert H100.tf32
assert H100.bf16


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RestorationConfig(), 1 / H100.tf32 + 3 / H100.fp32),
        (RestorationConfig(matmul_precision="high"), 4 / H100.tf32),
        (RestorationConfig(use_mixed_precision=True), 4 / H100.bf16),
    ],
)
def test_each_kind_at_its_own_rate(config: RestorationConfig, expected: float) -> None:
    """Convolutions of float32 may be in TF32 as they come, products where they are told to."""
    assert seconds_at_peak(FLOPS, H100, config) == pytest.approx(expected)


def test_what_a_card_has_no_unit_for_is_computed_in_float32() -> None:
    old = find("GTX 1080")
    assert old.fp32
    assert seconds_at_peak(FLOPS, old, RestorationConfig(use_mixed_precision=True)) == pytest.approx(4 / old.fp32)


def test_unknown_rates_say_nothing() -> None:
    assert seconds_at_peak(FLOPS, None, RestorationConfig()) is None
