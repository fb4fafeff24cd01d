"""Samples that were fetched once and are kept: as they are, or all of them as one tensor.

    first batch ── how long a sample takes, how large it is
       ├─ the rest can be fetched in a few seconds: all of it now
       └─ else: as the training comes to it
    later   ── CacheSamples: the kept samples are collated as ever
            └─ WholeSet (``whole_set``): a batch is an indexing of one tensor, on the device where there is one

Augmentation must not be frozen: a sample is kept only where fetching it draws nothing from the global random
generators; the first ones are fetched twice with other random numbers, and one in every epoch again, before any of that
epoch is taken from what is kept. All must be equal. A sample may also depend on what nobody sees here (the time, a
counter): then it is for these comparisons to find it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.fetching import ByIdentity, FetchLever, the_same, tree
from hotlap.probe.randomness import RandomState, other_numbers, own_generator, unchanged

#: Samples that are fetched twice at first.
_TWICE = 4
#: Seconds that fetching everything ahead may take by the time of the first batch.
_AHEAD = 10.0
#: A container, a number, what a sample costs besides its tensors.
_BESIDES = 200


class NotKept(Exception):
    """The samples of this dataset cannot be kept; the text says why."""


class Store:
    """Samples by index, up to so many bytes: those that came first stay, as all are read equally often."""

    def __init__(self, torch: Any, most: int) -> None:
        self.torch, self.most = torch, most
        self.bytes = 0
        self.samples: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        """Raises ``KeyError``."""
        return self.samples[key]

    def put(self, key: Any, sample: Any) -> None:
        """Keep it, if there is room."""
        size = size_of(self.torch, sample)
        if self.bytes + size <= self.most:
            self.bytes += size
            self.samples[key] = tree().tree_map(self._copy, sample)

    def __contains__(self, key: Any) -> bool:
        return key in self.samples

    def _copy(self, leaf: Any) -> Any:
        """A view would keep all of something large alive, and a dataset may use its buffer again."""
        if isinstance(leaf, self.torch.Tensor):
            return leaf.clone()
        return leaf.copy() if hasattr(leaf, "dtype") else leaf


def size_of(torch: Any, sample: Any) -> int:
    """Bytes of a sample of tensors, arrays, strings and numbers. Raises ``NotKept`` where there is something else."""
    total = _BESIDES
    for leaf in tree().tree_leaves(sample):
        if isinstance(leaf, torch.Tensor):
            if leaf.requires_grad or leaf.layout != torch.strided:
                raise NotKept("a sample holds a tensor that is no plain data")
            total += leaf.nbytes
        elif hasattr(leaf, "dtype") and hasattr(leaf, "nbytes") and leaf.dtype.kind != "O":
            total += leaf.nbytes
        elif isinstance(leaf, (str, bytes)):
            total += len(leaf)
        elif leaf is not None and not isinstance(leaf, (bool, int, float)):
            raise NotKept(f"a sample holds a {type(leaf).__name__}, of which it is not known what keeping it means")
    return total


class Kept:
    """What is known of one dataset."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.twice = 0
        self.ahead = False


class Keeping(FetchLever):
    """Fetches each sample once. Subclasses say what is kept, and how a batch is made of it."""

    never = "the training itself fetched no sample of a map-style dataset a second time"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: By the dataset; None for one whose samples cannot be kept.
        self.known: ByIdentity[Kept | None] = ByIdentity()

    def fetch(self, it: Any, indices: Any, ordinary: Callable[[Any], Any]) -> Any:
        kept = self._kept(it)
        if kept is None:
            return ordinary(indices)
        keys = list(indices) if it.auto_collation else [indices]
        try:
            return self._batch(it, kept, keys)
        except Exception as why:
            self._say(why)
            self.known.put(it.dataset, None)
        # What is wrong with the dataset itself it says again.
        return ordinary(indices)

    def _kept(self, it: Any) -> Kept | None:
        if it.dataset not in self.known:
            kept = None
            try:
                kept = self.begin(it)
            except Exception as why:  # of a dataset that does not like to be looked at
                self._say(why)
            self.known.put(it.dataset, kept)
        return self.known.get(it.dataset)

    def _say(self, why: Exception) -> None:
        self.note(f"{self.name} was not applied: {why if isinstance(why, NotKept) else repr(why)}")

    def _batch(self, it: Any, kept: Kept, keys: list[Any]) -> Any:
        if not all(type(key) is int and key >= 0 for key in keys):
            raise NotKept("its sampler gives other things than numbers")
        store = kept.store
        missing = [key for key in dict.fromkeys(keys) if key not in store]
        if len(missing) < len(set(keys)) and not it.__dict__.get("_hotlap_checked"):
            it._hotlap_checked = True
            self._check(it, store, next(key for key in keys if key in store))
        some = len(missing) < len(set(keys))
        fetched: dict[Any, Any] = {}
        if missing:
            start = time.perf_counter()
            fetched = dict(zip(missing, self._really(it, missing), strict=True))
            each = (time.perf_counter() - start) / len(missing)
            self._compare_twice(it, kept, fetched)
            batch = self.batch(it, store, keys, fetched)
            if not kept.ahead and self.torch.is_grad_enabled():
                kept.ahead = True
                self._fetch_ahead(it, store, each)
        else:
            batch = self.batch(it, store, keys, fetched)
        if some:
            self.pulled()
        return batch

    def _really(self, it: Any, keys: list[Any]) -> list[Any]:
        before = RandomState(self.torch)
        samples = self._of_dataset(it, keys)
        if RandomState(self.torch) != before:
            # The ordinary way draws them again.
            before.restore()
            raise NotKept("fetching a sample draws random numbers")
        places: set[int] = set()
        for sample in samples:
            own = {place for leaf in tree().tree_leaves(sample) if (place := self._place(leaf))}
            if own & places:
                raise NotKept("its samples share their memory")
            places |= own
        return samples

    def _place(self, leaf: Any) -> int:
        """Where its data are, 0 for what has none."""
        if isinstance(leaf, self.torch.Tensor):
            return int(leaf.data_ptr()) if leaf.numel() else 0
        return int(leaf.ctypes.data) if hasattr(leaf, "ctypes") else 0

    def _of_dataset(self, it: Any, keys: list[Any]) -> list[Any]:
        many = getattr(it.dataset, "__getitems__", None)
        return list(many(keys)) if many and it.auto_collation else [it.dataset[key] for key in keys]

    def _compare_twice(self, it: Any, kept: Kept, fetched: dict[Any, Any]) -> None:
        for key in list(fetched)[: _TWICE - kept.twice]:
            kept.twice += 1
            with other_numbers(self.torch, kept.twice):
                (again,) = self._of_dataset(it, [key])
            if not the_same(self.torch, fetched[key], again):
                raise NotKept("a sample that is fetched twice is not the same")

    def _check(self, it: Any, store: Any, key: Any) -> None:
        """At the first one of an epoch that is kept."""
        with unchanged(self.torch):
            (now,) = self._of_dataset(it, [key])
        if not self.still(it, store, key, now):
            raise NotKept("a sample is another one in a later epoch")

    def _fetch_ahead(self, it: Any, store: Any, each: float) -> None:
        try:
            count = len(it.dataset)
        except TypeError:
            return
        if count * each > _AHEAD:
            return
        with unchanged(self.torch):
            end, at_once = time.perf_counter() + 2 * _AHEAD, 32
            for first in range(0, count, at_once):
                keys = [key for key in range(first, min(first + at_once, count)) if key not in store]
                if keys:
                    self.keep(it, store, dict(zip(keys, self._really(it, keys), strict=True)))
                if time.perf_counter() > end:
                    return

    # what subclasses say

    def begin(self, it: Any) -> Kept:
        """Raises ``NotKept``."""
        if own_generator(self.torch, it.dataset):
            raise NotKept("the dataset has a random generator of its own")
        return Kept(Store(self.torch, int(self.value)))

    def keep(self, it: Any, store: Any, fetched: dict[Any, Any]) -> None:
        for key, sample in fetched.items():
            store.put(key, sample)

    def batch(self, it: Any, store: Any, keys: list[Any], fetched: dict[Any, Any]) -> Any:
        """Keep what was fetched, and return the batch."""
        raise NotImplementedError

    def still(self, it: Any, store: Any, key: Any, now: Any) -> bool:
        """Whether the sample that was fetched now is what is kept."""
        return the_same(self.torch, now, store.get(key))


class CacheSamples(Keeping):
    """``value``: bytes that may be kept of a dataset."""

    name = "cache_samples"

    def batch(self, it: Any, store: Any, keys: list[Any], fetched: dict[Any, Any]) -> Any:
        for key, sample in fetched.items():
            store.put(key, sample)
        samples = [fetched[key] if key in fetched else self._given(it, store.get(key)) for key in keys]
        return it.collate_fn(samples if it.auto_collation else samples[0])

    def _given(self, it: Any, sample: Any) -> Any:
        """What stacks samples copies them; others may hand them on to the script, which may change them."""
        return sample if self.stacks(it) else copy.deepcopy(sample)
