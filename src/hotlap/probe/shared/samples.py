"""Samples of a dataset that a node keeps: read where another process has put them, or fetched and put there.

    sample(i) ── ready? ── a copy out of shared memory                                    hit
       │ no                                                                               miss
       └── claim i (others wait, and then read) ── fetch ── store ── publish

Augmentation must not be frozen: what draws from the global random generators is not kept. The first samples of each
process, and one now and then, are fetched a second time with other random numbers, and must be the same.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hotlap.probe.randomness import RandomState, other_numbers, unchanged
from hotlap.probe.shared.flat import Flat, NotFlat, sample_of
from hotlap.probe.shared.store import Counter, Header, Stop, Store

#: Samples that each process fetches twice at first, and then one in so many.
TWICE, _ONE_IN = 2, 200
#: Seconds for which ranks wait, once, for the first samples of the one that made the memory.
_PATIENCE = 2.0
RANDOM = (
    "the samples are random, and keeping them would freeze them, so none is kept: let the dataset load, and give what "
    "is random as SampleCache(..., augment=...)"
)
FOREIGN = (
    "another rank made this cache for other samples, so it is not used here: every rank makes the same caches in the "
    "same order, each around all samples; or give ranks=1"
)
CHANGED = (
    "a sample is another one than it was when it was kept, so nothing kept is handed out any more: what goes with the "
    "epoch belongs into augment"
)
_TOO_LARGE = "a sample is larger than the whole cache, and is fetched every time: give the cache more gigabytes"
_NO_MEMORY = "the node has no more memory, so no more samples are kept"
_BEYOND = "a sample beyond the length of the dataset was asked for: such samples are fetched every time"


class SharedSamples:
    """One process's way to them. Subclasses say how a sample is fetched."""

    def __init__(self, store: Store, *, copy: bool, own: bool) -> None:
        """``copy``: whether tensors of a hit are copies of what is kept. ``own``: whether this rank made the store."""
        self._store, self.copy = store, copy
        #: Samples that this process has fetched to keep them.
        self._misses = 0
        #: Hits that are yet to be compared with what is fetched here: another rank may have samples of its own.
        self._unsure = 0 if own else TWICE
        #: Hits of this process that were compared with what the dataset gives now, as it may with every epoch.
        self._compared = 0
        self._foreign = False

    def _fetch(self, key: Any) -> Any:
        raise NotImplementedError

    def _warn(self, text: str) -> None:
        """Why a sample is not kept."""

    def _sample(
        self, key: Any, take: Callable[[Any], Any] | None = None, missed: Callable[[], Any] | None = None
    ) -> Any:
        store = self._store
        try:
            number = key.__index__()
        except (AttributeError, TypeError):
            number = -1
        if self._foreign:
            return _taken(self._fetch(key), take)
        if not 0 <= number < len(store):
            if number >= len(store):
                self._warn(_BEYOND)
            store.count(Counter.MISSES)
            store.count(Counter.NO_KEY)
            return _taken(self._fetch(key), take)
        # What was kept before it was found to be random is not handed out either.
        useless = store.useless
        found = None if useless else self._ready(number, take)
        if found is not None:
            return found[0]
        goes_on = store.stopped is Stop.GOES_ON and not store.full
        if not goes_on:
            store.count(Counter.RANDOM if useless else Counter.NO_ROOM)
        if not goes_on or not self._agrees():
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
        stamp, found = self._store.stamp(number), self._store.get(number)
        if found is None or not stamp:
            return None
        if self._unsure > 0 and not self._compare(number):
            return None
        began = time.perf_counter_ns()
        try:
            sample = _taken(sample_of(*found, copy=self.copy and take is None), take)
        except Exception:
            if self._store.stamp(number) == stamp:
                raise
        # What lies there may be another sample since.
        if self._store.stamp(number) != stamp or not self._still(number, stamp, found):
            return None
        self._store.count(Counter.HITS)
        self._store.count(Counter.COPYING, time.perf_counter_ns() - began)
        return (sample,)

    def _still(self, number: int, stamp: int, kept: tuple[bytes, np.ndarray]) -> bool:
        """Whether the dataset gives the same now; asked at the first hits of a process."""
        if self._compared >= TWICE:
            return True
        self._compared += 1
        with unchanged(torch):
            changed = differ(self._fetch(number), kept)
        if not changed or self._store.stamp(number) != stamp:
            return True
        self._store.stop(Stop.CHANGED)
        self._warn(CHANGED)
        return False

    def _compare(self, number: int) -> bool:
        """A sample that is kept with what is fetched here: whether it is the same."""
        stamp, kept = self._store.stamp(number), self._store.get(number)
        try:
            with unchanged(torch):
                foreign = kept is None or differ(self._fetch(number), kept)
        except Exception:  # e.g. of a dataset that has fewer samples
            foreign = True
        # Where only the latest stay, another may lie there meanwhile, which says nothing.
        if kept is None or self._store.stamp(number) != stamp:
            return False
        self._unsure -= 1
        self._foreign = foreign
        if self._foreign:
            self._warn(FOREIGN)
        return not self._foreign

    def _agrees(self) -> bool:
        """Whether others may be given what this rank fetches: those that made the store have the same samples."""
        ready = self._store.some_ready(self._unsure) if self._unsure > 0 else []
        # What a rank fetches before the other has begun could not be kept.
        while len(ready) < self._unsure:
            if not self._store.may_wait(_PATIENCE):
                return False
            time.sleep(0.005)
            ready = self._store.some_ready(self._unsure)
        return all(self._compare(number) for number in ready)

    def _fetched(self, key: Any, number: int | None = None) -> Any:
        """Fetch a sample, and keep it under its number, where one is claimed."""
        store = self._store
        began = time.perf_counter_ns()
        # Other threads draw numbers of their own meanwhile.
        asks = number is not None and threading.current_thread() is threading.main_thread()
        before = RandomState(torch) if asks else None
        sample = self._fetch(key)
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
            self._warn(RANDOM)
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
        if self._misses > TWICE and self._misses % _ONE_IN:
            return False
        body = np.empty(flat.size, np.uint8)
        flat.write(body)
        with other_numbers(torch, self._misses):
            return differ(self._fetch(key), (flat.form, body))


def differ(sample: Any, kept: tuple[bytes, np.ndarray]) -> bool:
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


def run_key() -> str:
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
