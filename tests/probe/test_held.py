"""What a dataset holds is counted without running any code of its own, and what workers get of it is told."""

from __future__ import annotations

import functools
import multiprocessing
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from recordings import Recorded, Told
from torch.utils.data import DataLoader, Dataset, Subset

from hotlap.diagnose import diagnose
from hotlap.diagnose.held import said_of_dataset
from hotlap.launch import Plan
from hotlap.probe.held import pickled, start_method
from hotlap.probe.own_caches import caches
from hotlap.probe.reachable import Walk
from hotlap.records import Dataset as DatasetFacts
from hotlap.records import Facts, HeldByDataset, HeldType, OwnCache


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("code of the script ran")


class Class(type):
    __instancecheck__ = __subclasscheck__ = __eq__ = __hash__ = refuse


class Hostile(metaclass=Class):
    __len__ = __iter__ = __getitem__ = __repr__ = __eq__ = __hash__ = __bool__ = __sizeof__ = refuse
    __getattr__ = __getattribute__ = __reduce_ex__ = refuse


class Sealed(list):  # type: ignore[type-arg]
    __len__ = __iter__ = __getitem__ = __sizeof__ = __eq__ = refuse
    __hash__ = refuse  # type: ignore[assignment]


def test_no_code_of_the_script_runs() -> None:
    """Neither of an object nor of its class, whatever they define; what such an object refers to is counted."""
    hostile = Hostile.__new__(Hostile)
    object.__getattribute__(hostile, "__dict__")["held"] = ["a text of its own", hostile]
    walk = Walk(torch, [hostile, Sealed(["another text"])])
    assert walk.complete
    counts = {each["type"]: each["count"] for each in walk.types}
    assert counts == {"list": 2, "Hostile": 1, "dict": 1, "Sealed": 1, "str": 3}


def test_objects_are_counted_once_with_their_bytes() -> None:
    """A list of a thousand texts and of one of them again: 1001 objects."""
    texts = [f"{number:06}.png" for number in range(1000)]
    held = [*texts, texts[0]]
    walk = Walk(torch, held)
    assert walk.objects == 1001
    # The header of the garbage collector is in getsizeof.
    assert walk.bytes == sys.getsizeof(held) + sum(map(sys.getsizeof, texts))
    assert walk.types[0] == {"type": "str", "count": 1000, "bytes": sum(map(sys.getsizeof, texts))}


def test_tensors_and_arrays_are_counted_by_the_memory_that_they_have() -> None:
    """Once for all views of it; files that are mapped are none; objects in an array are objects."""
    tensor = torch.zeros(1000)
    array = np.zeros(500)
    shared = torch.zeros(100).share_memory_()
    words = np.array(["one of them", "and another"], object)
    walk = Walk(torch, {"a": tensor, "b": tensor[:10], "c": array, "d": array[5:], "e": shared, "f": words})
    assert (walk.arrays, walk.array_bytes) == (4, 4000 + 4000 + 400 + words.nbytes)
    assert walk.shared_bytes == 400
    assert next(each["count"] for each in walk.types if each["type"] == "str") == 6 + 2


def test_modules_classes_and_globals_are_not_the_datasets() -> None:
    """What a function closes over is."""
    kept = ["a text that is closed over"]
    walk = Walk(torch, [sys, Walk, torch, lambda: kept, np.float64])
    # The list, the cell of the function, what is in it, and the text in that.
    assert walk.objects == 4


def test_the_count_ends_where_its_limits_are() -> None:
    """A long list is not copied to look at it."""
    held = list(range(10**6))
    walk = Walk(torch, held, most=5000)
    assert not walk.complete
    assert 5000 <= walk.objects < 10_000
    ticks = iter([0.0, 1.0, 99.0, 99.0])
    assert not Walk(torch, held, clock=lambda: next(ticks)).complete


class Cached(Dataset[Any]):
    """A dict and a list that grow with what is fetched, a function that remembers, and a list that is none."""

    def __init__(self) -> None:
        self.names = ["a", "b"]
        self.kept: dict[int, Any] = {}
        self.order: list[int] = []
        self.read_names()

    def read_names(self) -> None:
        self.names.append("c")

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        if index not in self.kept:
            self.keep(index)
        return self.kept[index]

    def keep(self, index: int) -> None:
        self.kept[index] = torch.full((256,), float(index))
        self.order.append(index)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - what is to be found
    def load(self, index: int) -> int:
        return index


def test_caches_of_a_dataset_are_found() -> None:
    """By what its methods write into once it is built, also in a subset of it, and by lru_cache."""
    dataset = Cached()
    assert dataset[1].numel() + dataset[2].numel() == 512
    found = {each["name"]: each for each in caches(torch, Subset(dataset, [1, 2]))}
    assert set(found) == {"Cached.kept", "Cached.order", "Cached.load"}
    assert (found["Cached.kept"]["kind"], found["Cached.kept"]["items"]) == ("dict", 2)
    assert found["Cached.kept"]["bytes"] > 2 * 1024
    assert (found["Cached.load"]["kind"], found["Cached.load"]["most"]) == ("lru_cache", 16)


def test_what_is_sent_to_a_spawned_worker() -> None:
    """Counted without the memory of tensors, and without altering anything; None where it cannot be sent here."""
    dataset = Cached()
    dataset[1]
    dataset.names = [f"{number:09}" for number in range(5000)]
    size, whole = pickled(torch, dataset)
    assert whole
    assert size is not None
    assert 5000 * 9 < size < 5000 * 20
    assert not dataset[1].is_shared()
    late = iter(range(0, 10**6, 100))
    assert not pickled(torch, dataset, clock=lambda: float(next(late)))[1]
    dataset.names.append(threading.Lock())  # type: ignore[arg-type]
    assert pickled(torch, dataset)[0] is None


def test_the_start_method_is_told_and_not_chosen() -> None:
    """To ask for it as usual would fix it for the script."""
    loader = DataLoader(Cached(), num_workers=1, multiprocessing_context="spawn")
    assert start_method(torch, loader) == "spawn"
    before = multiprocessing.get_start_method(allow_none=True)
    assert start_method(torch, DataLoader(Cached(), num_workers=1)) in multiprocessing.get_all_start_methods()
    assert multiprocessing.get_start_method(allow_none=True) == before


HELD = HeldByDataset(
    workers=4,
    start_method="fork",
    objects=1_000_000,
    bytes=58_000_000,
    types=[HeldType(type="str", count=1_000_000, bytes=50_000_000)],
    arrays=2,
    array_bytes=10**9,
    caches=[OwnCache(name="Frames.kept", kind="dict", items=0, bytes=64)],
    seconds=0.5,
)


@pytest.mark.parametrize(
    ("fields", "world", "words"),
    [
        ({}, 2, ["1,000,000 Python objects (58 MB, most of them str)", "4 workers x 2 ranks, up to 464 MB.", "shared"]),
        ({}, 2, ["Frames.kept (dict, 0 items, 64 B", "up to 8 x 200 MB = 1.6 GB where an item is a sample"]),
        ({"complete": False}, 1, ["at least 1,000,000", "4 workers, up to 232 MB and more"]),
        ({"workers": 0, "start_method": None}, 1, ["no worker that could copy them", "Frames.kept"]),
        (
            {"start_method": "spawn", "pickled": 10**7},
            1,
            ["begin by spawn", "a copy of it of 10 MB", "4 workers: 40 MB"],
        ),
        (
            {"caches": [OwnCache(name="F.load", kind="lru_cache", items=3, most=10)]},
            1,
            ["at most 10", "4 x 2 MB = 8 MB"],
        ),
    ],
)
def test_what_the_workers_get_is_said(fields: dict[str, Any], world: int, words: list[str]) -> None:
    facts = Facts(world_size=world, dataset=DatasetFacts(length=1000, sample_bytes=2e5))
    said = " ".join(said_of_dataset(msgspec.structs.replace(HELD, **fields), facts)).replace("share with it", "shared")
    for each in words:
        assert each in said, said
    if fields.get("start_method", "fork") != "fork":
        assert "on write" not in said


def test_the_dataset_that_trains_is_counted_and_trains_as_before(
    record: Callable[..., Recorded], without_probe: Callable[..., Told]
) -> None:
    """Before its workers begin; the losses are those of the script alone."""
    counted = record("holding", plan=Plan(memory=True))
    held = counted.run.memory.dataset
    assert held is not None
    assert (held.workers, held.start_method, held.complete) == (2, "fork", True)
    assert held.objects >= 20_000
    assert held.array_bytes == 64 * 16 * 4
    assert [cache.name for cache in held.caches] == ["Names.kept"]
    said = diagnose(counted.run).memory.dataset_said
    assert any("copies them on write" in each for each in said)
    assert any("Names.kept" in each and "fills one for itself" in each for each in said)
    assert counted.told is not None
    assert counted.told.steps == without_probe("holding").steps
