"""The latest samples stay, in a ring: what is overwritten is fetched again, and never handed out."""

from __future__ import annotations

import os
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hotlap.data import SampleCache
from hotlap.probe.shared.room import GIB

KEYS = 24


class Sized(Dataset[Any]):
    """Samples of different sizes, each full of its own number."""

    def __init__(self, size: int = 4096) -> None:
        self.size, self.fetched = size, 0

    def __len__(self) -> int:
        return KEYS

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.fetched += 1
        return {"x": torch.full((self.size + 64 * (index % 5),), index, dtype=torch.uint8), "name": f"{index}.png"}


def latest(dataset: Sized, samples: int) -> SampleCache:
    return SampleCache(dataset, samples * (dataset.size + 64 * 5) / GIB, policy="fifo")


@pytest.fixture(autouse=True)
def _fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each process fetches its first samples twice, to see whether they are random.
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)


def right(sample: dict[str, Any], index: int) -> bool:
    return sample["name"] == f"{index}.png" and bool((sample["x"] == index).all())


def test_the_latest_stay() -> None:
    """Those that fit, however often the ring has turned; others are fetched anew, and take the place of the oldest."""
    dataset = Sized()
    cache = latest(dataset, 8)
    for _ in range(3):
        for index in range(KEYS):
            assert right(cache[index], index)
    stats = cache.stats()
    assert (stats.hits, stats.misses, dataset.fetched) == (0, 3 * KEYS, 3 * KEYS)
    assert 6 <= stats.items <= 8
    assert stats.bytes <= stats.budget
    before = dataset.fetched
    for index in range(KEYS - 6, KEYS):
        assert right(cache[index], index)
    assert dataset.fetched == before
    assert right(cache[0], 0)
    assert dataset.fetched == before + 1


def test_a_sample_that_is_overwritten_while_it_is_read_is_fetched() -> None:
    cache = latest(Sized(), 4)
    cache[0]

    def slow(sample: dict[str, Any]) -> torch.Tensor:
        if not turned:
            turned.append(True)
            for index in range(8, 16):
                cache[index]
        part: torch.Tensor = sample["x"][:100].clone()
        return part

    turned: list[bool] = []
    assert (cache.part(0, slow) == 0).all()
    assert turned


def test_an_error_over_bytes_that_were_overwritten_is_not_the_scripts() -> None:
    """One over a sample that is still there is."""
    cache = latest(Sized(), 4)
    cache[0]

    def careful(sample: dict[str, Any]) -> int:
        if not turned:
            turned.append(True)
            for index in range(8, 16):
                cache[index]
        (number,) = set(sample["x"].tolist())
        assert number == 0
        return int(number)

    turned: list[bool] = []
    assert cache.part(0, careful) == 0
    with pytest.raises(ZeroDivisionError):
        cache.part(0, lambda sample: 1 // 0)


def test_many_processes_turn_the_ring() -> None:
    """Four of them, with large samples and little room: nobody sees half a sample, or another's."""
    cache = latest(Sized(2**18), 4)
    order = torch.randint(0, KEYS, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    one, other = (DataLoader(cache, batch_size=None, sampler=each, num_workers=2) for each in (order, order[::-1]))
    for index, sample, back, another in zip(order, one, order[::-1], other, strict=True):
        assert right(sample, index)
        assert right(another, back)
    stats = cache.stats()
    assert stats.hits + stats.misses == 2 * len(order)
    assert stats.hits > 20
    assert all(cache._store.intact(index) for index in range(KEYS) if cache._store.stamp(index))


def test_a_spawned_worker_finds_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what others put into it."""
    cache = latest(Sized(), 8)
    cache[3]
    # As in a process that has no view of this memory yet.
    monkeypatch.setattr("hotlap.probe.shared.store._stores", weakref.WeakValueDictionary())
    other = pickle.loads(pickle.dumps(cache))
    assert other._store is not cache._store
    assert right(other[3], 3)
    assert right(other[20], 20)
    assert right(cache[20], 20)
    assert (cache.stats().hits, cache.stats().misses) == (2, 2)


def test_a_process_that_dies_while_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its half of a sample is never read, and others write on."""
    cache = latest(Sized(), 8)
    for index in range(8):
        cache[index]
    child = os.fork()
    if not child:
        monkeypatch.setattr("hotlap.probe.shared.flat.Flat.write", lambda flat, body: os.kill(os.getpid(), 9))
        cache[20]
        os._exit(0)
    os.waitpid(child, 0)
    assert not cache._store.stamp(20)
    for index in (20, *range(KEYS)):
        assert right(cache[index], index)


def test_what_lies_in_the_ring_is_copied() -> None:
    with pytest.raises(ValueError, match="copy=True"):
        SampleCache(Sized(), 0.1, policy="fifo", copy=False)


def test_a_sample_that_is_larger_than_the_ring() -> None:
    cache = SampleCache(Sized(), 2000 / GIB, policy="fifo")
    with pytest.warns(UserWarning, match="a sample is larger than the whole cache"):
        assert all(right(cache[3], 3) for _ in range(2))
    assert cache.stats().not_kept == {"no room": 2}
