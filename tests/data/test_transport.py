"""Batches that workers write where the training reads them are torch's own, and stay what they are."""

from __future__ import annotations

import gc
import os
import random
import time
from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as tree
from torch.utils.data import DataLoader, Dataset, IterableDataset

from hotlap.data import SharedBatches
from hotlap.probe.shared import ring

Pair = namedtuple("Pair", "x y")
SIZE = 40_000


def sample(index: int) -> Any:
    return {
        "picture": torch.full((SIZE,), index % 251, dtype=torch.uint8),
        "array": np.full((3, 5), index, dtype=np.float32),
        "pair": Pair(torch.tensor(index), (f"{index}.png", index / 2)),
        "drawn": (torch.rand(2), random.random(), np.random.rand()),
    }


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        return sample(index)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([sample(index) for index in range(24)])


def batches(kind: type[DataLoader[Any]], dataset: Any, epochs: int = 2, **options: Any) -> list[Any]:
    torch.manual_seed(3)
    loader = kind(dataset, batch_size=4, num_workers=2, **options)
    return [batch for _ in range(epochs) for batch in loader]


def equal(a: Any, b: Any) -> None:
    leaves, shape = tree.tree_flatten(a)
    others, other_shape = tree.tree_flatten(b)
    assert shape == other_shape
    for one, other in zip(leaves, others, strict=True):
        assert type(one) is type(other)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        else:
            assert one == other


@pytest.mark.parametrize(
    "options",
    [{"shuffle": True}, {"shuffle": True, "persistent_workers": True}, {"multiprocessing_context": "spawn"}],
    ids=["new workers", "workers that stay", "spawned"],
)
def test_they_are_torch_s_own(options: dict[str, Any]) -> None:
    """Random numbers that workers draw among them; all are kept to the end."""
    # Spawned workers take seconds to start.
    epochs = 1 if "multiprocessing_context" in options else 2
    made = batches(SharedBatches, Samples(), epochs, **options)
    expected = batches(DataLoader, Samples(), epochs, **options)
    assert len(made) == len(expected) == 6 * epochs
    for one, other in zip(made, expected, strict=True):
        equal(one, other)


class Uneven(IterableDataset[Any]):
    """One worker comes to its end long before the other, and is gone when its batches have their turn."""

    def __iter__(self) -> Any:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        for index in range(4 if info.id else 16):
            if not info.id and index > 4:
                time.sleep(0.05)
            yield torch.full((SIZE,), 100 * info.id + index)


def test_a_worker_that_ends_before_the_others() -> None:
    found = [batch[:, 0].tolist() for batch in SharedBatches(Uneven(), batch_size=1, num_workers=2, prefetch_factor=4)]
    assert found == [batch[:, 0].tolist() for batch in DataLoader(Uneven(), batch_size=1, num_workers=2)]


def test_of_a_stream() -> None:
    for one, other in zip(batches(SharedBatches, Stream()), batches(DataLoader, Stream()), strict=True):
        equal(one, other)


@pytest.fixture
def in_slots(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slot of each batch that comes in one."""
    seen: list[int] = []
    before = ring._lease

    def lease(place: Any, slot: int, size: int) -> Any:
        seen.append(slot)
        return before(place, slot, size)

    monkeypatch.setattr(ring, "_lease", lease)
    return seen


def test_slots_are_used_again(in_slots: list[int]) -> None:
    """The first batch of each worker tells how large they are; memory does not grow with the batches."""
    loader = SharedBatches(Samples(), batch_size=2, num_workers=2, persistent_workers=True)
    places = set()
    for _ in range(3):
        for batch in loader:
            places.add(batch["picture"].data_ptr())
            del batch
    # The first one of each worker is torch's own.
    assert len(in_slots) == 36 - 2
    # Two of torch's own, and at most six slots for each of two workers.
    assert len(places) <= 2 + 12


def test_a_batch_stays_what_it_is(in_slots: list[int]) -> None:
    """A tensor that is kept, even a part of one, keeps its slot; without free ones batches come as from torch."""
    loader = SharedBatches(Samples(), batch_size=2, num_workers=1, persistent_workers=True)
    kept = [batch["picture"][1, :3] for _ in range(3) for batch in loader]
    assert [part.tolist() for part in kept] == [[index] * 3 for _ in range(3) for index in range(1, 24, 2)]
    assert len(in_slots) == 6
    kept.clear()
    for _ in loader:
        pass
    assert len(in_slots) >= 16


def test_a_child_that_lets_go_of_a_batch_leaves_it_to_its_parent(in_slots: list[int]) -> None:
    loader = SharedBatches(Samples(), batch_size=2, num_workers=1, persistent_workers=True)
    kept = list(loader)[1]
    (slots,) = [place.in_use for _, place in ring._rings.values() if place.in_use[in_slots[0]]]
    child = os.fork()
    if not child:
        kept.clear()
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert slots[in_slots[0]] == 1
    kept.clear()
    gc.collect()
    assert slots[in_slots[0]] == 0


class Strict(UserDict[str, Any]):
    """Takes tensors alone."""

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is no tensor")
        super().__setitem__(name, value)


class StrictSamples(Samples):
    def __getitem__(self, index: int) -> Any:
        return Strict(x=torch.full((SIZE,), index), y=torch.tensor(index))


def test_containers_that_take_no_other_thing_come_as_from_torch() -> None:
    for one, other in zip(batches(SharedBatches, StrictSamples()), batches(DataLoader, StrictSamples()), strict=True):
        assert type(one) is type(other) is Strict
        assert torch.equal(one["x"], other["x"])


class Growing(Samples):
    def __getitem__(self, index: int) -> Any:
        return torch.full((SIZE * (1 + index // 8),), index, dtype=torch.int16)


def test_larger_batches_get_larger_slots(in_slots: list[int]) -> None:
    loader = SharedBatches(Growing(), batch_size=4, num_workers=1)
    for number, batch in enumerate(loader):
        assert batch[:, 0].tolist() == list(range(4 * number, 4 * number + 4))
    assert len(in_slots) == 3


class Failing(Samples):
    def __getitem__(self, index: int) -> Any:
        if index == 9:
            raise ValueError("the ninth is broken")
        return torch.zeros(SIZE) if index != 21 else torch.zeros(SIZE + 1)


def test_errors_are_torch_s_own() -> None:
    with pytest.raises(ValueError, match="the ninth is broken"):
        list(SharedBatches(Failing(), batch_size=4, num_workers=1))
    with pytest.raises(RuntimeError, match="equal size"):
        list(SharedBatches(Failing(), batch_size=4, num_workers=1, sampler=[0, 1, 2, 3, 20, 21, 22, 23]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "there are no workers"),
        ({"num_workers": 1, "batch_size": None}, "samples are not put together into batches"),
        ({"num_workers": 1, "collate_fn": list}, "batches are put together by a function of the script's own"),
    ],
)
def test_otherwise_it_is_torch_s_loader(options: dict[str, Any], reason: str) -> None:
    loader = SharedBatches(Samples(), **{"batch_size": 4, **options})
    assert loader.reason == reason
    assert len(list(loader)) == (6 if loader.batch_size else 24)


def test_small_batches_come_as_from_torch(in_slots: list[int]) -> None:
    class Small(Samples):
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([index])

    small = SharedBatches(Small(), batch_size=4, num_workers=1)
    assert torch.cat(list(small)).flatten().tolist() == list(range(24))
    assert in_slots == []
