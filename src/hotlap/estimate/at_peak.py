"""What a step's floating-point operations take at the peak that a card's vendor publishes.

No estimate of its time: how near to the peak a training comes is not known before it was measured, and bytes that are
moved add to it. No bound to the last per cent either: Winograd's convolutions need fewer operations than are counted,
and clocks may go beyond the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from hotlap.estimate.cards import Card, Precision
from hotlap.estimate.timeline import Kind
from hotlap.train.config import TrainConfig


def seconds_at_peak(flops: dict[Kind, float], card: Card | None, config: TrainConfig) -> float | None:
    """None where nothing is known of the card's rates."""
    return at_peak(flops, card, {kind: _precision(config, kind) for kind in flops})


def at_peak(flops: dict[Kind, float], card: Card | None, precisions: Mapping[Kind, Precision]) -> float | None:
    """The same, where the precision of each kind is known."""
    rates = {kind: None if card is None else _rate(card, precisions[kind]) for kind in flops}
    known = {kind: rate for kind, rate in rates.items() if rate is not None}
    return sum(number / known[kind] for kind, number in flops.items()) if len(known) == len(flops) else None


def _precision(config: TrainConfig, kind: Kind) -> Precision:
    """The fastest in which PyTorch may compute it: convolutions of float32 are in TF32 unless somebody forbids it."""
    if config.use_mixed_precision:
        return "fp16" if config.fp16 else "bf16"
    return "tf32" if kind == "convolution" or config.matmul_precision != "highest" else "fp32"


def _rate(card: Card, precision: Precision) -> float | None:
    """Never slower than in float32: without a unit for it, that is how it is computed at best."""
    rates = [rate for rate in (card.flops(precision), card.flops("fp32")) if rate is not None]
    return max(rates, default=None)
