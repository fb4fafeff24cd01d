"""What a cache will hit is known before the training, and the training is the same whether it was asked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from hotlap.data import GroupedSampler, SampleCache
from hotlap.data.order import Order, order_of
from hotlap.data.policies import lru_in_theory
from hotlap.data.prediction import predict
from hotlap.probe.shared.room import GIB

FRAMES, SEQUENCES, LENGTH = 30, 8, 5


class Bytes(Dataset[Any]):
    def __init__(self, length: int, size: int = 256) -> None:
        self.length, self.size = length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return torch.full((self.size,), index % 251, dtype=torch.uint8)


class Indices(Bytes):
    def __getitem__(self, index: int) -> Any:
        return index


def cached(dataset: Bytes, share: float, **options: Any) -> SampleCache:
    """Room for a share of the samples."""
    return SampleCache(dataset, share * len(dataset) * (dataset.size + 64) / GIB, **options)


class Clips(Dataset[Any]):
    """Of neighbouring frames, which lie in a cache."""

    def __init__(self, frames: SampleCache) -> None:
        self.frames = frames
        self.firsts = [
            sequence * FRAMES + first for sequence in range(SEQUENCES) for first in range(FRAMES - LENGTH + 1)
        ]
        self.sequences = [first // FRAMES for first in self.firsts]

    def __len__(self) -> int:
        return len(self.firsts)

    def keys(self, clip: int) -> range:
        return range(self.firsts[clip], self.firsts[clip] + LENGTH)

    def __getitem__(self, clip: int) -> Any:
        return torch.stack([self.frames[key] for key in self.keys(clip)])


def test_a_loader_with_a_generator_is_replayed() -> None:
    """It then reads in the order that was foretold, as it would have without."""
    loader = DataLoader(Indices(50), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(3))
    state = loader.generator.get_state()
    order = order_of(loader, epochs=3)
    assert torch.equal(loader.generator.get_state(), state)
    assert (order.epochs, order.known) == ([50, 50, 50], True)
    assert order.keys == [int(index) for _ in range(3) for batch in loader for index in batch]


def test_a_loader_without_one_is_like_what_comes() -> None:
    state = torch.get_rng_state()
    order = order_of(DataLoader(Indices(50), batch_size=8, shuffle=True), epochs=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert not order.known
    assert sorted(order.keys[:50]) == sorted(order.keys[50:]) == list(range(50))
    assert order.keys[:50] != order.keys[50:]


def test_the_ranks_of_the_node_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    samplers = [DistributedSampler(Indices(21), 4, rank, seed=5) for rank in range(4)]
    expected = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        expected += [index for row in zip(samplers[2], samplers[3], strict=True) for index in row]
    # Two ranks on each of two nodes; this is the last one of the second.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    samplers[3].set_epoch(0)
    assert order_of(BatchSampler(samplers[3], 4, drop_last=False), epochs=2) == Order(expected, [12, 12], True)
    assert (samplers[3].epoch, samplers[3].rank) == (0, 3)


class Own(Sampler[int]):
    """Draws from a generator of its own, and shuffles a list where it lies."""

    def __init__(self) -> None:
        self.order, self.random = list(range(20)), random.Random(0)

    def __iter__(self) -> Iterator[int]:
        self.random.shuffle(self.order)
        return iter(self.order)


def test_a_sampler_that_remembers_is_left_alone() -> None:
    sampler = Own()
    order = order_of(sampler, epochs=2)
    assert order.keys == [*sampler, *sampler]


def test_keys_of_what_a_sampler_gives() -> None:
    assert order_of(SequentialSampler(range(3)), 1, lambda clip: (clip, clip + 1)).keys == [0, 1, 1, 2, 2, 3]
    assert order_of([[0, 1], [1, 0, 0]]) == Order([0, 1, 1, 0, 0], [2, 3], True)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_predicted_happens(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """In every epoch, and what is expected of the readings so far, the filling among them."""
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    cache = cached(Bytes(200), 0.5)
    loader = DataLoader(cache, 8, shuffle=True, generator=torch.Generator(), num_workers=workers)
    found = cache.predict(loader, epochs=2)
    assert found.rates["lru"] == pytest.approx(lru_in_theory(0.5), abs=0.06)
    assert found.hit_rate == found.ceiling == pytest.approx(0.5, abs=0.01)
    for _ in range(3):
        for _ in loader:
            pass
        stats = cache.stats()
        assert stats.expected_hit_rate == pytest.approx(stats.hit_rate, abs=0.01)
    assert stats.predicted_hit_rate == pytest.approx((stats.hits / 400), abs=0.01)


def test_clips_of_two_sequences_at_a_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache of a third of the frames hits three quarters and more, as predicted; shuffled fully it would not."""
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    frames = cached(Bytes(SEQUENCES * FRAMES), 0.33, policy="fifo")
    clips = Clips(frames)
    shuffled = frames.predict(RandomSampler(clips), keys=clips.keys, sequences=clips.sequences)
    sampler = GroupedSampler(clips.sequences, 2)
    found = frames.predict(sampler, epochs=3, keys=clips.keys)
    assert shuffled.hit_rate < 0.45 < 0.75 < found.hit_rate
    assert shuffled.grouped == pytest.approx(found.hit_rate, abs=0.02)
    assert "two sequences at a time" in shuffled.sentence()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for clip, batch in zip(sampler, DataLoader(clips, 1, sampler=sampler, num_workers=2), strict=True):
            assert batch[0, :, 0].tolist() == [key % 251 for key in clips.keys(clip)]
    stats = frames.stats()
    assert stats.hit_rate is not None
    assert stats.hit_rate > 0.75
    assert stats.hit_rate == pytest.approx(stats.expected_hit_rate, abs=0.02)
    frames.print_cache_stats()
    said = capsys.readouterr().out
    assert f"Predicted: {100 * found.hit_rate:.2f}% after the first epoch, where no rule could have more than" in said


def test_what_would_raise_it() -> None:
    """Samples stored smaller, or another rule."""
    shuffled = order_of([random.Random(epoch).sample(range(100), 100) for epoch in range(3)])
    found = predict(shuffled, dict.fromkeys(range(100), 4.0), 100.0, "fifo")
    assert found.smaller[4] == 1.0
    assert "25.00% with policy 'never_evict'" in found.sentence()
    assert "100.00% with samples stored in 1/4 of their bytes" in found.sentence()
    assert found.bytes == 400


def test_a_long_order_is_simulated_by_every_so_many_th_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    order = order_of([random.Random(epoch).sample(range(8000), 8000) for epoch in range(3)])
    sizes = dict.fromkeys(range(8000), 1.0)
    whole = predict(order, sizes, 4000)
    monkeypatch.setattr("hotlap.data.prediction.MOST", 6000)
    part = predict(order, sizes, 4000)
    assert (whole.one_in, part.one_in) == (1, 4)
    assert part.rates == pytest.approx(whole.rates, abs=0.05)
    assert part.after(16000) == pytest.approx(whole.after(16000), abs=0.05)


def test_all_fit_and_some_come_late() -> None:
    """No rule and no smaller sample would help: epochs leave out what fills no batch, each other samples."""
    found = predict(order_of([[0, 1, 2, 3], [1, 2, 3, 4]]), dict.fromkeys(range(5), 4.0), 20.0)
    assert found.sentence() == (
        "75.00% after the first epoch, since all samples fit; what is read for the first time then is missing"
    )
    whole = predict(order_of([[0, 1], [1, 0]]), dict.fromkeys(range(2), 4.0), 20.0)
    assert whole.sentence() == "100.00% after the first epoch, since all samples fit"
