"""A rank that is there before the one that made the memory waits for its first samples, once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from hotlap.probe.shared.samples import SharedSamples
from hotlap.probe.shared.store import Store


class Numbers(SharedSamples):
    def _fetch(self, key: Any) -> torch.Tensor:
        return torch.full((4,), float(key))


def both(store: Store) -> tuple[Numbers, Numbers]:
    return Numbers(store, copy=True, own=True), Numbers(store, copy=True, own=False)


def test_what_an_early_rank_fetches_is_kept() -> None:
    """The samples of the other tell that both have the same ones, and they come a moment later."""
    store = Store.create("early", 10, 1 << 20)
    first, early = both(store)

    def late() -> None:
        for key in (0, 1):
            first._sample(key)

    timer = threading.Timer(0.2, late)
    timer.start()
    assert early._sample(5).tolist() == [5.0] * 4
    timer.join()
    assert store.get(5) is not None


def test_nobody_waits_twice_for_a_rank_that_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotlap.probe.shared.samples._PATIENCE", 0.05)
    store = Store.create("alone", 10, 1 << 20)
    _, early = both(store)
    early._sample(5)
    assert store.get(5) is None
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits again"))
    early._sample(6)
    Numbers(store, copy=True, own=False)._sample(7)
    assert store.items == 0
