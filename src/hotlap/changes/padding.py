"""Sequences cut to the longest of their batch."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.thresholds import PADDING_SHARE
from hotlap.records import Change

#: Lengths are multiples of it: kernels like that, and there are fewer shapes.
MULTIPLE = 8


def propose(situation: Situation) -> list[Change]:
    padding = situation.facts.dataset.padding
    if padding is None or padding <= PADDING_SHARE:
        return []
    return [
        Change(
            name="trim_padding",
            value=str(MULTIPLE),
            title="padding cut to the longest sequence of the batch",
            # Dropout draws fewer numbers, and sums have other terms that are zero.
            numerics="rounding",
            inject={"trim_padding": MULTIPLE},
            live=True,
            # Attention grows with the square of the length.
            bound=situation.bound("forward", "loss", "backward", "recompute", speedup=1 / max(1 - padding, 1e-3) ** 2),
            note=f"{padding:.0%} of the positions are padding in all rows; a model that reads padding trains otherwise",
        )
    ]
