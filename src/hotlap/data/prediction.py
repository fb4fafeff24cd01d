"""What a cache will hit, before the training: every rule simulated on the order in which samples will be read.

sampler ── order_of ── order ┬ policies, budget, sizes ── hits of each rule, and the most that any could have
                             └ sizes / 2, / 4 ─────────── what storing samples smaller would give
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from itertools import accumulate, compress, pairwise
from typing import Any

import msgspec

from hotlap.data.order import Order
from hotlap.data.policies import POLICIES

#: Readings that are simulated; of longer orders every n-th sample stands for n, in an n-th of the budget.
MOST = 100_000
#: Sizes are divided by these: float32 stored in 16 bits, or as the bytes that pictures come in.
SMALLER = (2, 4)
#: Differences below this are not spoken of.
_WORTH_SAYING = 0.02


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Hit rates are of the last epoch of the order, so that the first, which fills the cache, is not in them."""

    #: The rule of the cache.
    policy: str
    rates: dict[str, float]
    #: Of ``policy``, where samples are stored in so many times fewer bytes.
    smaller: dict[int, float]
    #: Where the latest stay, and clips come as ``GroupedSampler`` gives them; None where no sequences were named.
    grouped: float | None = None
    budget: float
    #: Of all samples that are read.
    bytes: float
    #: Whether the training will read in this very order; else in another one that is drawn in the same way.
    known: bool
    #: Every so many-th sample was simulated, to stand for the others.
    one_in: int
    #: By epoch: readings, and hits of ``policy`` among them.
    readings: list[int]
    hits: list[float]

    @property
    def hit_rate(self) -> float:
        return self.rates[self.policy]

    @property
    def ceiling(self) -> float:
        """No rule hits more in this order."""
        return self.rates["belady"]

    def after(self, readings: int) -> float | None:
        """Hit rate of the first so many readings, those that fill the cache among them."""
        if not readings:
            return None
        found, left = 0.0, readings
        for number, (length, hits) in enumerate(zip(self.readings, self.hits, strict=True), 1):
            # Epochs that were not simulated are like the last one that was.
            now = left if number == len(self.readings) else min(left, length)
            found += hits * now / length if length else 0.0
            left -= now
        return found / readings

    def sentence(self) -> str:
        said = f"{100 * self.hit_rate:.2f}% after the first epoch"
        if self.bytes <= self.budget:
            late = "; what is read for the first time then is missing" if self.hit_rate < 1 else ""
            return f"{said}, since all samples fit{late}"
        return f"{said}, where no rule could have more than {100 * self.ceiling:.2f}%{self._more()}"

    def _more(self) -> str:
        """What would raise it."""
        ways = [(f"policy {name!r}", self.rates[name]) for name in ("never_evict", "fifo")]
        ways += [(f"samples stored in 1/{factor} of their bytes", rate) for factor, rate in self.smaller.items()]
        if self.grouped is not None:
            ways.append(("policy 'fifo' and the clips of two sequences at a time (GroupedSampler)", self.grouped))
        told = [f"{100 * rate:.2f}% with {way}" for way, rate in ways if rate > self.hit_rate + _WORTH_SAYING]
        return f"; {', '.join(told)}" if told else ""


def predict(order: Order, sizes: Mapping[Any, float], budget: float, policy: str = "never_evict") -> Prediction:
    """Simulate all rules. ``sizes``: bytes of each key of the order; ``budget``: bytes that the cache may take."""
    one_in = max(1, -(-len(order.keys) // MOST))
    chosen = [one_in == 1 or not _number(key) % one_in for key in order.keys]
    keys = list(compress(order.keys, chosen))
    before = list(accumulate(chosen, initial=0))
    borders = [before[end] for end in accumulate(order.epochs, initial=0)]

    def by_epoch(name: str, factor: int = 1) -> list[int]:
        hits = POLICIES[name](budget / one_in * factor, keys, sizes)
        return [sum(hits[begin:end]) for begin, end in pairwise(borders)]

    def rate(hits: list[int]) -> float:
        length = borders[-1] - borders[-2] if order.epochs else 0
        return hits[-1] / length if length else 0.0

    found = {name: by_epoch(name) for name in POLICIES}
    return Prediction(
        policy=policy,
        rates={name: rate(hits) for name, hits in found.items()},
        smaller={factor: rate(by_epoch(policy, factor)) for factor in SMALLER},
        budget=budget,
        bytes=float(sum(sizes[key] for key in set(order.keys))),
        known=order.known,
        one_in=one_in,
        readings=order.epochs,
        hits=[float(hits * one_in) for hits in found[policy]],
    )


def _number(key: Any) -> int:
    """The same in every process, and without regard to what lies beside it."""
    return zlib.crc32(repr(key).encode())
