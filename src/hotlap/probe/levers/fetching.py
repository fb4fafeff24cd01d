"""Levers that make batches in another way, where the training fetches them itself.

    DataLoader ── indices ──> fetcher ── samples ──> collate ──> batch          the ordinary way
                     └──> BatchedFetch: one indexing of the tensors that hold all samples

A worker process goes the ordinary way: what a batch costs there is mostly its way to the training.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hotlap.probe.levers.base import Lever
from hotlap.probe.levers.rows import NotRows, Rows, rows

#: Batches of a dataset that are made in both ways and compared at first, and in each epoch after that.
_COMPARED, _EACH_EPOCH = 2, 1

Value = TypeVar("Value")


class ByIdentity(Generic[Value]):
    """Something about a dataset, as long as it lives. It may have no hash, and its id may be given to another one."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, Value]] = {}

    def put(self, dataset: Any, value: Value) -> None:
        name = id(dataset)
        try:
            reference: Any = weakref.ref(dataset, lambda _: self.known.pop(name, None))
        except TypeError:
            reference = dataset  # e.g. a list, which now lives on
        self.known[name] = reference, value

    def get(self, dataset: Any) -> Value | None:
        return self.known.get(id(dataset), (None, None))[1]

    def __contains__(self, dataset: Any) -> bool:
        return id(dataset) in self.known


class FetchLever(Lever):
    never = "the training fetched no batch of a map-style dataset itself"

    def install(self) -> None:
        utils = self.torch.utils.data._utils
        fetcher, in_worker = utils.fetch._MapDatasetFetcher, self.torch.utils.data.get_worker_info
        ordinary = fetcher.fetch

        @functools.wraps(ordinary)
        def fetch(it: Any, indices: Any) -> Any:
            if not self.value or in_worker() is not None:
                return ordinary(it, indices)
            return self.fetch(it, indices, functools.partial(ordinary, it))

        fetcher.fetch = fetch

    def fetch(self, it: Any, indices: Any, ordinary: Callable[[Any], Any]) -> Any:
        """Return the batch of these indices. ``it`` is the fetcher: a new one for each iteration of a loader."""
        return ordinary(indices)

    def stacks(self, it: Any) -> bool:
        """Whether its batches are samples that torch's own function stacks."""
        own = getattr(it.collate_fn, "hotlap_times", it.collate_fn)
        return bool(it.auto_collation) and own is self.torch.utils.data.default_collate


def tree() -> Any:
    """torch's own functions for nested containers."""
    return importlib.import_module("torch.utils._pytree")


def the_same(torch: Any, one: Any, other: Any) -> bool:
    """Whether two batches, or samples, are equal in everything, bit by bit."""
    (a, structure), (b, like) = tree().tree_flatten(one), tree().tree_flatten(other)
    return structure == like and all(_equal(torch, x, y) for x, y in zip(a, b, strict=True))


def _equal(torch: Any, x: Any, y: Any) -> bool:
    if type(x) is not type(y):
        return False
    if isinstance(x, torch.Tensor):
        if (x.dtype, x.shape, x.stride(), x.device) != (y.dtype, y.shape, y.stride(), y.device):
            return False
        if not x.is_floating_point() or torch.equal(x, y):
            return bool(torch.equal(x, y))
        return bool(torch.equal(x.isnan(), y.isnan()) and torch.equal(x.nan_to_num(), y.nan_to_num()))
    if hasattr(x, "dtype") and hasattr(x, "tobytes"):
        return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())
    return bool(x == y)


class BatchedFetch(FetchLever):
    name = "batched_fetch"
    live = True

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Datasets whose first batches were compared.
        self.compared: ByIdentity[bool] = ByIdentity()

    def fetch(self, it: Any, indices: Any, ordinary: Callable[[Any], Any]) -> Any:
        made = it.__dict__.get("_hotlap_rows")
        if made is None:
            made = it._hotlap_rows = self._rows(it)
        if made is False:
            return ordinary(indices)
        try:
            index = self.torch.as_tensor(indices)
            if index.dim() != 1 or index.dtype != self.torch.int64 or not len(index) or int(index.min()) < 0:
                raise NotRows("its sampler gives other things than numbers")
            batch = made(index)
        except Exception as error:
            it._hotlap_rows = False
            self.note(f"batched_fetch was not applied: {error if isinstance(error, NotRows) else repr(error)}")
            # What is wrong with the dataset itself it says again.
            return ordinary(indices)
        seen = it.__dict__.get("_hotlap_compared", 0)
        if seen < (_EACH_EPOCH if self.compared.get(it.dataset) else _COMPARED):
            it._hotlap_compared = seen + 1
            if seen + 1 >= _COMPARED:
                self.compared.put(it.dataset, True)
            true = ordinary(indices)
            if not the_same(self.torch, true, batch):
                it._hotlap_rows = False
                self.note("batched_fetch was not applied: one indexing gives other batches than the dataset does")
            return true
        self.pulled()
        return batch

    def _rows(self, it: Any) -> Rows | bool:
        try:
            if not self.stacks(it):
                raise NotRows("the script collates its batches itself")
            return rows(self.torch, it.dataset)
        except Exception as why:  # of a dataset that does not like to be looked at
            self.note(f"batched_fetch was not applied: {why if isinstance(why, NotRows) else repr(why)}")
            return False
