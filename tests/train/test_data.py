"""The order of the samples: a function of seed and epoch alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hotlap.train.config import RestorationConfig
from hotlap.train.data import Batches, ShuffledEpoch
from hotlap.train.ranks import Ranks
from hotlap.workers import Choice

Make = Callable[..., RestorationConfig]
CPU = torch.device("cpu")


class Numbers:
    collate = None

    def __init__(self, samples: int) -> None:
        self.epoch_samples = samples

    def __getitem__(self, number: int) -> Any:
        return number

    cache = None

    def predicted(self, epochs: list[list[int]]) -> None:
        return None

    def grouped(self, order: list[int], size: int, generator: torch.Generator) -> list[int]:
        return order

    def on_device(self, device: torch.device) -> None:
        return None


def first(batches: Batches, number: int) -> list[list[int]]:
    return [torch.as_tensor(batch).tolist() for _, batch in zip(range(number), batches, strict=False)]


def order(config: RestorationConfig, samples: int = 30, ranks: Ranks | None = None) -> ShuffledEpoch:
    return ShuffledEpoch(Numbers(samples), config, ranks or Ranks(CPU))


def test_an_epoch_has_every_sample_once(small: Make) -> None:
    """Numbers are those of the epoch, and another epoch or seed has another order."""
    epoch = order(small(batch_size=5))
    first = list(epoch)
    assert sorted(first) == list(range(30))
    epoch.epoch = 2
    second = list(epoch)
    assert sorted(second) == list(range(60, 90))
    assert [number - 60 for number in second] != first
    assert list(order(small(batch_size=5, seed=1))) != first


def test_an_epoch_goes_on_where_it_was_left(small: Make) -> None:
    epoch = order(small(batch_size=4))
    whole = list(epoch)
    epoch.start = 12
    assert list(epoch) == whole[12:]
    assert len(epoch) == len(whole) - 12


def test_every_division_of_a_step_trains_on_the_same_samples(small: Make) -> None:
    used = [set(order(small(batch_size=size, accumulation_steps=12 // size))) for size in (2, 4, 12)]
    assert used[0] == used[1] == used[2]
    assert len(used[0]) == 24


def test_no_sample_is_preferred(small: Make) -> None:
    """What does not fill a step is left out, but not the same samples in each epoch."""
    epoch = order(small(batch_size=4), samples=10)
    seen: Counter[int] = Counter()
    for epoch.epoch in range(50):
        seen.update(number % 10 for number in epoch)
    assert set(seen) == set(range(10))
    assert sum(seen.values()) == 50 * 8


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_divide_each_batch(small: Make, drop_last: bool) -> None:
    """Together they have what one rank with the batch of both has, in the same order of batches."""
    alone = list(order(small(batch_size=8, drop_last=drop_last)))
    parts = [list(order(small(batch_size=4, drop_last=drop_last), ranks=Ranks(CPU, rank, 2))) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == (12 if drop_last else 15)
    for i in range(0, len(alone), 8):
        together = [*parts[0][i // 2 : i // 2 + 4], *parts[1][i // 2 : i // 2 + 4]]
        assert sorted(together) == sorted(alone[i : i + 8])


def test_auto_goes_on_with_the_workers_that_keep_up(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of an epoch, and with the samples that any number of workers gives."""
    expected = first(Batches(Numbers(30), small(), Ranks(CPU)), 40)
    said: list[str] = []
    monkeypatch.setattr("hotlap.train.data.choose", lambda fetch, step, **limits: Choice(2, "two keep up"))
    batches = Batches(Numbers(30), small(num_workers="auto"), Ranks(CPU))
    batches.say = said.append
    assert first(batches, 40) == expected
    assert batches._loader is not None
    assert (batches._loader.num_workers, said) == (2, ["two keep up"])


def test_auto_takes_no_workers_for_what_is_fetched_at_once(small: Make) -> None:
    said: list[str] = []
    batches = Batches(Numbers(30), small(num_workers="auto"), Ranks(CPU))
    batches.say = said.append
    first(batches, 20)
    assert batches._loader is not None
    assert batches._loader.num_workers == 0
    assert said[0].startswith("no workers: a batch takes ")
