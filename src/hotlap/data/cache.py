"""``SampleCache``: any map-style dataset, with its samples kept in memory that the whole node shares.

    dataset = SampleCache(dataset, gigabytes=40)

    dataset[i] ── ready? ── a copy out of shared memory                                  hit
       │ no                                                                               miss
       └── claim i (others wait, and then read) ── fetch ── store ── publish

The budget is that of the node: workers and ranks share the samples, where each would keep its own otherwise. Samples
that come first stay, which is the best rule where each is read once in an epoch (``policies``). The order of samples is
left alone, and so are the samples: one that is random is not kept.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch.utils.data import Dataset

from hotlap.data.flat import Flat, NotFlat, sample_of
from hotlap.data.room import GIB, budget
from hotlap.data.shared import NoMemory
from hotlap.data.store import Counter, Header, Stop, Store
from hotlap.probe.randomness import RandomState, other_numbers, own_generator

#: Samples that each process fetches twice at first, and then one in so many.
_TWICE, _ONE_IN = 2, 200
_MIB = 2**20
_RANDOM = (
    "the samples are random, and keeping them would freeze them, so none is kept: let the dataset load, and give what "
    "is random as SampleCache(..., augment=...)"
)
_FOREIGN = (
    "another rank made this cache for other samples, so it is not used here: every rank makes the same caches in the "
    "same order, each around all samples; or give ranks=1"
)
_TOO_LARGE = "a sample is larger than the whole cache, and is fetched every time: give the cache more gigabytes"
_NO_MEMORY = "the node has no more memory, so no more samples are kept"
_BEYOND = "a sample beyond the length of the dataset was asked for: such samples are fetched every time"
_created = itertools.count()
#: Attributes of a cache; others are those of its dataset.
_OWN = frozenset({"augment", "copy", "dataset", "name", "_compared", "_foreign", "_misses", "_store"})


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
    #: Of the hits in every later epoch, where each sample is read once in one: the share of the samples that is kept.
    predicted_hit_rate: float
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


class SampleCache(Dataset[Any]):
    """Keeps samples of ``dataset`` in at most ``gigabytes`` (of 2**30 bytes) of this node, ranks and workers together.

    What can be told of a dataset is told of this one: its other attributes are those of ``dataset``.

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
        copy: bool = True,
        augment: Callable[[Any], Any] | None = None,
        ranks: int | None = None,
        name: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.augment, self.copy = augment, copy
        self.name = name or type(dataset).__name__
        granted = budget(gigabytes * GIB)
        if granted.why is not None:
            warnings.warn(
                f"{self.name}: the cache gets {granted.size / GIB:.1f} GiB and not {gigabytes:g}: {granted.why}",
                stacklevel=2,
            )
        together = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks is None else ranks
        key = f"{_run()}-{next(_created)}"
        # A rank that finds the cache of another looks whether it holds its own samples.
        self._misses, self._compared = 0, _TWICE
        try:
            if together == 1 or int(os.environ.get("LOCAL_RANK", "0")) == 0:
                self._store = Store.create(key, len(dataset), granted.size)
            else:
                self._store, self._compared = Store.find(key), 0
        except (OSError, NoMemory) as error:
            # One without room counts and fetches.
            self._store = Store.create(f"{key}-none", len(dataset), 0)
            self._warn(f"the cache of {granted.size / GIB:.1f} GiB cannot be made, so nothing is kept: {error}")
        #: Whether the memory holds samples of another dataset: ranks that do not make the same caches.
        self._foreign = len(self._store) != len(dataset)
        if self._foreign:
            self._warn(_FOREIGN)
        if own_generator(torch, dataset):
            self._store.stop(Stop.RANDOM)
            self._warn(_RANDOM)

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

        A crop of a large picture costs the copy of the crop. ``missed`` gives the same where there is no room for the
        sample, so that not all of it need be fetched. ``augment`` is not called.
        """
        return self._sample(key, take, missed)

    def _sample(
        self, key: Any, take: Callable[[Any], Any] | None = None, missed: Callable[[], Any] | None = None
    ) -> Any:
        store = self._store
        try:
            number = key.__index__()
        except (AttributeError, TypeError):
            number = -1
        if self._foreign:
            return _taken(self.dataset[key], take)
        if not 0 <= number < len(store):
            if number >= len(store):
                self._warn(_BEYOND)
            store.count(Counter.MISSES)
            store.count(Counter.NO_KEY)
            return _taken(self.dataset[key], take)
        # What was kept before it was found to be random is not handed out either.
        random = store.stopped is Stop.RANDOM
        found = None if random else self._ready(number, take)
        if found is not None:
            return found[0]
        if store.stopped is not Stop.GOES_ON or store.full:
            store.count(Counter.RANDOM if random else Counter.NO_ROOM)
            if missed is not None:
                store.count(Counter.MISSES)
                return missed()
            return _taken(self._fetched(key), take)
        began = time.perf_counter_ns()
        with store.claimed(number) as free:
            store.count(Counter.WAITING, time.perf_counter_ns() - began)
            if free:
                return _taken(self._fetched(key, number), take)
        found = self._ready(number, take)
        return _taken(self._fetched(key), take) if found is None else found[0]

    def _ready(self, number: int, take: Callable[[Any], Any] | None) -> tuple[Any] | None:
        found = self._store.get(number)
        if found is None:
            return None
        if self._compared < _TWICE:
            self._compared += 1
            if _differ(self.dataset[number], found):
                self._foreign = True
                self._warn(_FOREIGN)
                return None
        began = time.perf_counter_ns()
        sample = _taken(sample_of(*found, copy=self.copy and take is None), take)
        self._store.count(Counter.HITS)
        self._store.count(Counter.COPYING, time.perf_counter_ns() - began)
        return (sample,)

    def _fetched(self, key: Any, number: int | None = None) -> Any:
        """Fetch a sample, and keep it under its number, where one is claimed."""
        store = self._store
        began = time.perf_counter_ns()
        # Other threads draw numbers of their own meanwhile.
        asks = number is not None and threading.current_thread() is threading.main_thread()
        before = RandomState(torch) if asks else None
        sample = self.dataset[key]
        store.count(Counter.MISSES)
        store.count(Counter.FETCHING, time.perf_counter_ns() - began)
        if number is None:
            return sample
        try:
            flat = Flat(sample)
        except NotFlat as error:
            store.count(Counter.NOT_FLAT)
            self._warn(f"sample {number} cannot be kept: it has {error}")
            return sample
        if before is not None and (before != RandomState(torch) or self._differs(key, flat)):
            store.count(Counter.RANDOM)
            store.stop(Stop.RANDOM)
            self._warn(_RANDOM)
        elif not store.put(number, flat):
            store.count(Counter.NO_ROOM)
            if store.stopped is Stop.NO_MEMORY:
                self._warn(_NO_MEMORY)
            elif flat.size > int(store.header[Header.BUDGET]) > 0:
                self._warn(_TOO_LARGE)
        return sample

    def _differs(self, key: Any, flat: Flat) -> bool:
        """Whether it comes out otherwise with other random numbers; asked now and then."""
        self._misses += 1
        if self._misses > _TWICE and self._misses % _ONE_IN:
            return False
        body = np.empty(flat.size, np.uint8)
        flat.write(body)
        with other_numbers(torch, self._misses):
            return _differ(self.dataset[key], (flat.form, body))

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.name}: {text}", stacklevel=4)

    # -- what it did ---------------------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        store = self._store
        items, used, most = (int(store.header[each]) for each in (Header.ITEMS, Header.USED, Header.BUDGET))
        reasons = {
            "no room": Counter.NO_ROOM,
            "not flat": Counter.NOT_FLAT,
            "no number of the dataset": Counter.NO_KEY,
            "random": Counter.RANDOM,
        }
        stopped = {Stop.NO_MEMORY: "the node has no more memory", Stop.RANDOM: "the samples are random"}
        return CacheStats(
            items=items,
            bytes=used,
            budget=most,
            length=len(store),
            hits=store.total(Counter.HITS),
            misses=store.total(Counter.MISSES),
            predicted_hit_rate=items / len(store) if len(store) else 0.0,
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
        sys.stdout.flush()

    # -- other processes -----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """A spawned worker attaches to the memory of the process that started it."""
        state = self.__dict__.copy()
        state["_store"] = self._store.memory.path
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = Store.attach(state["_store"])


def _differ(sample: Any, kept: tuple[bytes, np.ndarray]) -> bool:
    """Whether a sample is another one than that which is kept."""
    try:
        flat = Flat(sample)
    except NotFlat:
        return True
    form, body = kept
    same = (flat.form, flat.size) == (form, len(body))
    return not same or any(not np.array_equal(part, body[at : at + part.nbytes]) for at, part in flat.parts)


def _taken(sample: Any, take: Callable[[Any], Any] | None) -> Any:
    return sample if take is None else take(sample)


def _run() -> str:
    """The same for all ranks of a training on this node, and for no other training."""
    known = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    if not known[2]:
        return str(os.getpid())
    known.append(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    # Address and port are the same in most runs. Who started the ranks of this one is the same for all of them.
    with suppress(OSError):
        parent = os.getppid()
        known += [str(parent), Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]]
    # The name of a memory is short.
    return hashlib.sha256("-".join(known).encode()).hexdigest()[:16]
