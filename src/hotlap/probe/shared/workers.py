"""What a loader's workers need to share samples: it goes to them in the place of the function that makes batches.

    the training   an iterator's collate function <── OfWorkers(store, collate function)     the loader's stays as it is
    a worker       fetcher.fetch ── a batch's samples, kept or fetched ── collate function

So the script's loader and dataset are what they were, for ``isinstance`` and for all that asks them, in workers too.
Forked workers get it as it is, and spawned ones as a pickle that finds the memory again.

Where all samples can be fetched in a few seconds, each worker fetches its part of them before its first batch: then
every epoch is one that is read from memory.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch.utils.data import get_worker_info

from hotlap.probe.randomness import unchanged
from hotlap.probe.shared.flat import NotFlat
from hotlap.probe.shared.samples import TWICE, SharedSamples, differ
from hotlap.probe.shared.store import Counter, Stop, Store

#: Seconds that fetching all samples ahead may take, and after which it is given up where it would take longer.
AHEAD, _ENOUGH_TO_TELL = 10.0, 2.0


class OfWorkers(SharedSamples):
    """Samples of a loader's dataset, as its workers fetch them."""

    def __init__(
        self, store: Store, collate: Callable[[Any], Any], *, copy: bool, own: bool, ahead: tuple[int, int] | None
    ) -> None:
        """``ahead``: which one of how many ranks fetches its part of all samples first; None: as they are asked for."""
        super().__init__(store, copy=copy, own=own)
        self.collate, self.ahead = collate, ahead
        # It looks itself, in every epoch.
        self._compared = TWICE
        self.fetcher: Any = None
        #: Of this process: samples that were fetched, and the seconds that it took.
        self.fetched, self.seconds = 0, 0.0

    def __call__(self, samples: Any) -> Any:
        return self.collate(samples)

    def batch(self, fetcher: Any, indices: Any, ordinary: Callable[[Any], Any]) -> Any:
        """The batch of these indices. ``fetcher``: of this worker, a new one for each epoch."""
        if self._store.useless or self._foreign:
            return ordinary(indices)
        self.fetcher = fetcher
        try:
            keys = list(indices) if fetcher.auto_collation else [indices]
            if not all(type(key) is int for key in keys):
                self._store.count(Counter.NO_KEY)
            elif self._still_the_same(keys):
                samples = [self._sample(key) for key in keys]
                return self.collate(samples if fetcher.auto_collation else samples[0])
        except Exception:
            # What is wrong with the dataset itself it says again.
            batch = ordinary(indices)
            self._store.stop(Stop.FAILED)
            return batch
        return ordinary(indices)

    def fetch_ahead(self, fetcher: Any) -> None:
        """Before the first batch of this worker, whose part it is."""
        worker, store = get_worker_info(), self._store
        if self.ahead is None or worker is None:
            return
        (rank, ranks), self.ahead, self.fetcher = self.ahead, None, fetcher
        first, step = rank * worker.num_workers + worker.id, ranks * worker.num_workers
        began = time.perf_counter()
        with unchanged(torch):
            # Another rank made the memory, and its workers are about to write to it.
            while not self._agrees():
                if self._foreign or time.perf_counter() - began > _ENOUGH_TO_TELL:
                    return
                time.sleep(0.02)
            if not self._still_the_same([]):
                return
            for key in range(first, len(store), step):
                if store.stopped is not Stop.GOES_ON or store.full or self._foreign:
                    return
                if store.get(key) is not None:
                    continue
                # One that cannot be fetched may be one that nobody asks for.
                with suppress(Exception):
                    self._sample(key)
                spent = time.perf_counter() - began
                whole = self.seconds / max(self.fetched, 1) * len(store) / step
                if spent > 2 * AHEAD or (spent > _ENOUGH_TO_TELL and whole > AHEAD):
                    return

    def _still_the_same(self, keys: list[int]) -> bool:
        """Asked before what is kept is handed out in an epoch: the dataset may give other samples in a later one."""
        store = self._store
        if self.fetcher.__dict__.get("_hotlap_checked"):
            return True
        # Of what lay there before this epoch, whoever puts more beside it.
        ready = next((key for key in keys if 0 <= key < len(store) and store.get(key) is not None), None)
        ready = next(iter(store.some_ready(1)), None) if ready is None else ready
        if ready is None:
            return True
        self.fetcher._hotlap_checked = True
        kept = store.get(ready)
        assert kept is not None
        with unchanged(torch):
            changed = differ(self._fetch(ready), kept)
        if changed:
            store.stop(Stop.CHANGED)
        return not changed

    def _fetch(self, key: Any) -> Any:
        dataset = self.fetcher.dataset
        many = getattr(dataset, "__getitems__", None) if self.fetcher.auto_collation else None
        began = time.perf_counter()
        if many:
            found = many([key])
            if type(found) is not list or len(found) != 1:  # a batch that is put together already
                raise NotFlat("no list of samples")
            (sample,) = found
        else:
            sample = dataset[key]
        self.seconds += time.perf_counter() - began
        self.fetched += 1
        return sample

    def _warn(self, text: str) -> None:
        # The training is told by the store.
        if self._foreign:
            self._store.stop(Stop.CHANGED)

    # spawned workers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": self._store.memory.path, "fetcher": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = Store.attach(state["_store"])


def hand_out() -> None:
    """From now on workers of this process, and those that it starts, make batches of what they are given."""
    fetchers: Any = torch.utils.data._utils.fetch._MapDatasetFetcher
    begin, ordinary = fetchers.__init__, fetchers.fetch

    @functools.wraps(begin)
    def __init__(fetcher: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        begin(fetcher, *args, **kwargs)
        if isinstance(fetcher.collate_fn, OfWorkers):
            with suppress(Exception):
                fetcher.collate_fn.fetch_ahead(fetcher)

    @functools.wraps(ordinary)
    def fetch(fetcher: Any, indices: Any) -> Any:
        of_workers = fetcher.collate_fn
        if not isinstance(of_workers, OfWorkers):
            return ordinary(fetcher, indices)
        return of_workers.batch(fetcher, indices, functools.partial(ordinary, fetcher))

    fetchers.__init__, fetchers.fetch = __init__, fetch
