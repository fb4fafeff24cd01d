"""``SampleCache``: any map-style dataset, with its samples kept in memory that the whole node shares.

    dataset = SampleCache(dataset, gigabytes=40)

The budget is that of the node: workers and ranks share the samples, where each would keep its own otherwise. Samples
that come first stay, which is the best rule where each is read once in an epoch (``policies``); or the latest, where
readings of the same one come close together. The order of samples is left alone, and so are the samples: one that is
random is not kept.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import torch
from torch.utils.data import Dataset

from hotlap.data.grouping import GroupedSampler
from hotlap.data.latest import Latest
from hotlap.data.order import order_of
from hotlap.data.prediction import Prediction, predict
from hotlap.probe.randomness import own_generator, unchanged
from hotlap.probe.shared.flat import Flat, NotFlat
from hotlap.probe.shared.memory import NoMemory
from hotlap.probe.shared.room import GIB, budget
from hotlap.probe.shared.samples import FOREIGN, RANDOM, SharedSamples, run_key
from hotlap.probe.shared.store import Counter, Header, Stop, Store, aligned

_MIB = 2**20
_UNKNOWN_RANKS = (
    "LOCAL_WORLD_SIZE is not set, so each rank makes a cache of its own, of this size: start the ranks with torchrun, "
    "or set LOCAL_WORLD_SIZE and MASTER_PORT"
)
_created = itertools.count()
#: Attributes of a cache; others are those of its dataset.
_OWN = frozenset(
    {
        "augment",
        "copy",
        "dataset",
        "name",
        "policy",
        "_compared",
        "_foreign",
        "_misses",
        "_predicted",
        "_store",
        "_unsure",
    }
)
#: What each rule is kept in.
_STORES: dict[str, type[Store]] = {"never_evict": Store, "fifo": Latest}
#: Samples that are fetched to see how large they are, where none is kept yet.
_LOOKED_AT = 3


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Of all workers and ranks of the node together."""

    items: int
    #: Bytes of the samples, and the most that they may take.
    bytes: int
    budget: int
    #: Keys that there are.
    length: int
    hits: int
    misses: int
    #: Of later epochs: as ``SampleCache.predict`` found, or, where what comes first stays, the share of the samples
    #: that is kept, which is right where each is read once in an epoch. None where nothing was predicted.
    predicted_hit_rate: float | None
    #: What ``hit_rate`` would be now, the first epoch among the readings, by that prediction.
    expected_hit_rate: float | None
    #: Misses that were not kept, by reason.
    not_kept: dict[str, int]
    #: Why nothing more is kept; None while it is.
    stopped: str | None
    #: Seconds, summed over processes: fetching misses, copying hits, waiting for another process that fetched the same.
    fetching: float
    copying: float
    waiting: float

    @property
    def hit_rate(self) -> float | None:
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class SampleCache(SharedSamples, Dataset[Any]):
    """Keeps samples of ``dataset`` in at most ``gigabytes`` (of 2**30 bytes) of this node, ranks and workers together.

    What can be told of a dataset is told of this one: its other attributes are those of ``dataset``.

    ``policy``: what comes first stays ("never_evict"), or the latest ("fifo"), whose samples are always copied.
    ``predict`` says what each gives for an order of reading.

    Without ``copy`` the tensors of a hit lie in the cache itself: writing to one alters it for all. Torch's own collate
    copies them, so a loader that uses it has no need of another copy.

    ``augment`` is called with every sample that is handed out, and is what may be random. ``ranks``: how many processes
    of this node make the same cache at the same moment, as torchrun's do (None: as the environment says).

    A sample is a tree of dicts, lists and tuples of tensors, arrays, bytes, texts and numbers. Others are fetched every
    time, with a warning; the same goes for samples that are random, for a sample that is larger than the room that is
    left, and for everything once the node has no memory any more.
    """

    def __init__(
        self,
        dataset: Any,
        gigabytes: float,
        *,
        policy: Literal["never_evict", "fifo"] = "never_evict",
        copy: bool = True,
        augment: Callable[[Any], Any] | None = None,
        ranks: int | None = None,
        name: str | None = None,
    ) -> None:
        self.dataset = dataset
        if policy not in _STORES:
            raise ValueError(f"policy is {policy!r}, and must be one of {', '.join(_STORES)}")
        if policy == "fifo" and not copy:
            raise ValueError("policy='fifo' stores new samples where old ones lie, so these must be copied: copy=True")
        self.augment, self.policy = augment, policy
        self._predicted: Prediction | None = None
        self.name = name or type(dataset).__name__
        granted = budget(gigabytes * GIB)
        if granted.why is not None:
            warnings.warn(
                f"{self.name}: the cache gets {granted.size / GIB:.1f} GiB and not {gigabytes:g}: {granted.why}",
                stacklevel=2,
            )
        together = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks is None else ranks
        parallel = torch.distributed
        several = parallel.is_available() and parallel.is_initialized() and parallel.get_world_size() > 1
        if ranks is None and several and "LOCAL_WORLD_SIZE" not in os.environ:
            self._warn(_UNKNOWN_RANKS)
        key, kind = f"{run_key()}-{next(_created)}", _STORES[policy]
        try:
            if together > 1:
                # That of whichever comes first: any of them may be killed just now.
                store, own = kind.share(key, len(dataset), granted.size)
            else:
                store, own = kind.create(key, len(dataset), granted.size), True
        except (OSError, NoMemory) as error:
            # One without room counts and fetches.
            store, own = kind.create(f"{key}-none", len(dataset), 0), True
            self._warn(f"the cache of {granted.size / GIB:.1f} GiB cannot be made, so nothing is kept: {error}")
        super().__init__(store, copy=copy, own=own)
        self._foreign = len(store) != len(dataset)
        if self._foreign:
            self._warn(FOREIGN)
        if own_generator(torch, dataset):
            self._store.stop(Stop.RANDOM)
            self._warn(RANDOM)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # Not before it is there: while it is unpickled, say.
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # What is set is set where it would be read.
        there = name not in _OWN and hasattr(self.dataset, name)
        (setattr if there else object.__setattr__)(self.dataset if there else self, name, value)

    def __getitem__(self, key: Any) -> Any:
        sample = self._sample(key)
        return sample if self.augment is None else self.augment(sample)

    def part(self, key: Any, take: Callable[[Any], Any], missed: Callable[[], Any] | None = None) -> Any:
        """What ``take`` makes of a sample, which lies in the cache where it is a hit: nothing of it may be written to.

        A crop of a large picture costs the copy of the crop; and a copy it must be where the latest samples stay.
        ``missed`` gives the same where there is no room for the sample, so that not all of it need be fetched.
        ``augment`` is not called.
        """
        return self._sample(key, take, missed)

    def _fetch(self, key: Any) -> Any:
        return self.dataset[key]

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.name}: {text}", stacklevel=4)

    # -- what it did ---------------------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        store = self._store
        items, asked = store.items, store.total(Counter.HITS) + store.total(Counter.MISSES)
        later, expected = None, None
        if self._predicted is not None:
            later, expected = self._predicted.hit_rate, self._predicted.after(asked)
        elif self.policy == "never_evict":
            later = items / len(store) if len(store) else 0.0
        reasons = {
            "no room": Counter.NO_ROOM,
            "not flat": Counter.NOT_FLAT,
            "no number of the dataset": Counter.NO_KEY,
            "random": Counter.RANDOM,
        }
        stopped = {
            Stop.NO_MEMORY: "the node has no more memory",
            Stop.RANDOM: "the samples are random",
            Stop.CHANGED: "a sample is another one than it was",
        }
        return CacheStats(
            items=items,
            bytes=store.used,
            budget=int(store.header[Header.BUDGET]),
            length=len(store),
            hits=store.total(Counter.HITS),
            misses=store.total(Counter.MISSES),
            predicted_hit_rate=later,
            expected_hit_rate=expected,
            not_kept={name: count for name, each in reasons.items() if (count := store.total(each))},
            stopped=stopped.get(store.stopped),
            fetching=store.total(Counter.FETCHING) / 1e9,
            copying=store.total(Counter.COPYING) / 1e9,
            waiting=store.total(Counter.WAITING) / 1e9,
        )

    def print_cache_stats(self, *, as_json: bool = False) -> None:
        """As the lines that the user's own projects print, or as JSON."""
        found = self.stats()
        if as_json:
            print(json.dumps(msgspec.to_builtins(found) | {"hit_rate": found.hit_rate}))
            return
        rate = "n/a" if found.hit_rate is None else f"{100 * found.hit_rate:.2f}%"
        print(f"[{self.name}] Cache Stats:")
        print(f"  - Size: {found.items} items")
        print(f"  - Memory: {found.bytes / _MIB:.1f} / {found.budget / _MIB:.1f} MB")
        print(f"  - Hit Rate: {rate} ({found.hits} hits / {found.misses} misses)")
        if self._predicted is not None:
            soon = (
                "" if found.expected_hit_rate is None else f"; of as many readings {100 * found.expected_hit_rate:.2f}%"
            )
            print(f"  - Predicted: {self._predicted.sentence()}{soon}")
        sys.stdout.flush()

    def predict(
        self,
        order: Any,
        *,
        epochs: int = 2,
        keys: Callable[[Any], Iterable[int]] | None = None,
        sizes: float | Mapping[Any, float] | None = None,
        sequences: Sequence[Hashable] | None = None,
    ) -> Prediction:
        """What this cache will hit, and what other rules would, when samples are read in this order.

        ``order``: the loader or the sampler of the training, before its first epoch, whose generators are left as they
        are; or a list of the numbers for each epoch. ``keys``: of what a sampler gives, the numbers that are read
        here, as the frames of a clip. ``sizes``: bytes of each sample; None takes those that are kept for the size of
        all, or fetches a few where none is. ``sequences``: of each clip, to say what a ``GroupedSampler`` of two of
        them would give. ``stats`` compares it with what happens.
        """
        read, most = order_of(order, epochs, keys), int(self._store.header[Header.BUDGET])
        known: Mapping[Any, float]
        if isinstance(sizes, Mapping):
            known = sizes
        else:
            size = self._size() if sizes is None else sizes
            known = defaultdict(lambda: size)
        self._predicted = predict(read, known, most, self.policy)
        if sequences is not None:
            other = order_of(GroupedSampler(sequences, num_replicas=1, rank=0), epochs, keys)
            grouped = predict(other, known, most, "fifo").hit_rate
            self._predicted = msgspec.structs.replace(self._predicted, grouped=grouped)
        return self._predicted

    def _size(self) -> float:
        """Mean bytes of a sample."""
        if self._store.items:
            return self._store.used / self._store.items
        numbers = range(0, len(self), max(1, len(self) // _LOOKED_AT))[:_LOOKED_AT]
        try:
            with unchanged(torch):
                flat = [Flat(self.dataset[number]) for number in numbers]
        except NotFlat as error:
            raise ValueError(f"the samples of {self.name} cannot be kept: one has {error}") from None
        return sum(aligned(len(each.form)) + aligned(each.size) for each in flat) / max(1, len(flat))

    # -- other processes -----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker attaches to the memory of the process that started it."""
        state = self.__dict__.copy()
        state["_store"] = self._store.memory.path
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = _STORES[self.policy].attach(state["_store"])
