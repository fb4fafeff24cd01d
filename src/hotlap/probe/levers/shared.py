"""Memory that a loader's workers share with each other and with the training: samples that are kept, slots for batches.

    the loader's iterator ── about to start its workers ──> its collate function is exchanged, the loader's is not
       ├─ ShareBatches    batches are put together where the training reads them               ``shared.ring``
       └─ ShareSamples    each sample is fetched once, by whichever worker or rank comes first  ``shared.workers``

What speaks against it is mostly found in a worker, which says so in the shared memory; here it is read there.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from typing import Any

from hotlap.probe.levers.base import Lever
from hotlap.probe.levers.fetching import ByIdentity
from hotlap.probe.randomness import own_generator

#: Steps between two looks at the memory, once it is in use.
_SELDOM = 20


class NotShared(Exception):
    """The samples of this dataset cannot be shared; the text says why."""


class _Shares(Lever):
    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.ready = False

    def install(self) -> None:
        try:
            self.begin()
        except ImportError as why:  # there may be no numpy
            self.note(f"{self.name} was not applied: {why}")
        else:
            self.ready = True

    def begin(self) -> None:
        """Import what it takes, which is not here before torch is."""
        raise NotImplementedError


class ShareBatches(_Shares):
    """Batches are written where the training reads them, instead of into new shared memory for every tensor."""

    name = "shared_batches"
    never = "no batch of 64 KiB or more came from workers"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Whether a loader's workers were given slots, and why one's were not.
        self.given = False
        self.why: str | None = None

    def begin(self) -> None:
        from hotlap.probe.shared import ring

        self.ring = ring

    def before_workers(self, iterator: Any, loader: Any) -> None:
        if not self.value or not self.ready or isinstance(iterator._collate_fn, self.ring.Collate):
            return
        why = self.ring.why_not(loader)
        if why is None:
            self.given = True
            iterator._collate_fn = self.ring.collate_of(loader)
        else:
            self.why = why

    def before_optimizer(self, optimizer: Any) -> None:
        if self.applied or not self.ready:
            return
        if self.ring.received():
            self.pulled()
        elif self.why is not None and not self.given:
            self.note(f"{self.name} was not applied: {self.why}")


class ShareSamples(_Shares):
    """``value``: bytes that the samples of a dataset may take, of all workers and ranks of the node together."""

    name = "shared_samples"
    never = "no worker was asked for a sample of a map-style dataset a second time"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: By the dataset, with whether this rank made it; None for one whose samples cannot be shared.
        self.known: ByIdentity[tuple[Any, bool] | None] = ByIdentity()
        self.stores: weakref.WeakSet[Any] = weakref.WeakSet()
        #: Ranks that make theirs in the same order find each other's by number.
        self.made: Counter[str] = Counter()
        self.steps = 0

    def begin(self) -> None:
        from hotlap.probe.shared import ring, workers

        workers.hand_out()
        self.ring, self.workers = ring, workers

    def before_workers(self, iterator: Any, loader: Any) -> None:
        data, collate = self.torch.utils.data, iterator._collate_fn
        if not self.value or not self.ready or isinstance(collate, self.workers.OfWorkers):
            return
        found = None if isinstance(loader.dataset, data.IterableDataset) else self._store(loader.dataset)
        if found is None:
            return
        store, own = found
        # What stacks samples copies them; others may hand them on to the script, which may change them.
        copied = collate is data.default_collate or isinstance(collate, self.ring.Collate)
        # Not for a validation, nor where the script waits for a batch no longer than it says.
        ahead = self.torch.is_grad_enabled() and not loader.timeout and store.items < len(store) // 2
        iterator._collate_fn = self.workers.OfWorkers(
            store,
            collate,
            copy=not (copied and iterator._auto_collation),
            own=own,
            ahead=_of_ranks() if ahead else None,
        )

    def _store(self, dataset: Any) -> tuple[Any, bool] | None:
        if dataset not in self.known:
            self.known.put(dataset, None)
            try:
                self.known.put(dataset, self._make(dataset))
            except Exception as why:  # no memory, or a dataset that does not like to be looked at
                self.note(f"{self.name} was not applied: {why if isinstance(why, NotShared) else repr(why)}")
        return self.known.get(dataset)

    def _make(self, dataset: Any) -> tuple[Any, bool]:
        """Raises ``NotShared``."""
        from hotlap.probe.shared.room import budget
        from hotlap.probe.shared.samples import SharedSamples, run_key
        from hotlap.probe.shared.store import Store

        if not hasattr(os, "memfd_create"):
            raise NotShared("it takes Linux")
        if isinstance(dataset, SharedSamples):
            raise NotShared("the script shares its samples itself")
        _, ranks = _of_ranks()
        parallel = self.torch.distributed
        if parallel.is_available() and parallel.is_initialized() and parallel.get_world_size() > 1 == ranks:
            raise NotShared("which ranks are on this node is not known: LOCAL_WORLD_SIZE is not set")
        if own_generator(self.torch, dataset):
            raise NotShared("the dataset has a random generator of its own")
        try:
            length = len(dataset)
        except (TypeError, NotImplementedError):
            raise NotShared("the dataset does not say how many samples it has") from None
        kind = f"{type(dataset).__name__[:40]}-{length}"
        self.made[kind] += 1
        name, size = f"{run_key()}-{kind}-{self.made[kind]}", budget(self.value).size
        store, own = Store.share(name, length, size) if ranks > 1 else (Store.create(name, length, size), True)
        self.stores.add(store)
        return store, own

    def before_optimizer(self, optimizer: Any) -> None:
        self.steps += 1
        if self.applied and self.steps % _SELDOM:
            return
        for store in list(self.stores):
            why = self._against(store)
            if why is not None:
                self.note(f"{self.name} was not applied: {why}")
            elif store.hits:
                self.pulled()

    def _against(self, store: Any) -> str | None:
        from hotlap.probe.shared.store import Counter, Stop

        stopped = {
            Stop.RANDOM: "fetching a sample draws random numbers, or gives another one each time",
            Stop.CHANGED: "a sample is another one in a later epoch, or in another rank",
            Stop.FAILED: "a batch of kept samples could not be made",
        }
        if store.stopped in stopped:
            return stopped[store.stopped]
        if store.stopped is Stop.NO_MEMORY and not store.items:
            return "the node has no memory for it"
        if store.total(Counter.NOT_FLAT):
            return "a sample holds something besides tensors, arrays, texts, numbers and bytes"
        return "its sampler gives other things than numbers" if store.total(Counter.NO_KEY) else None


def _of_ranks() -> tuple[int, int]:
    """Which one of how many ranks of this node it is."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
