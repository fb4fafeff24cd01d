"""Batches from workers without a new piece of shared memory for each: they are written where the training reads them.

    worker ── collates into a free slot of its ring ── the slot's number through the queue ── the training
      ▲          ┌ in use? ┬ slot 0 ┬ slot 1 ┬ ... ┐                                             │
      └──────────┴─────────┴────────┴────────┴─────┘ <── free again once no tensor lies in it ───┘

Torch makes a file in shared memory for every tensor of every batch, whose pages the kernel must find and clear, maps it
twice and throws it away. Here the pages are found once. All else is torch's own loader: the order, the seeds of the
workers, errors, workers that stay.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils.data import DataLoader, default_collate, get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from hotlap.probe.shared.flat import ALIGNMENT
from hotlap.probe.shared.memory import SharedMemory

#: Slots of a worker besides those of batches that wait: one that is written, and some that the training still holds.
_MORE_SLOTS = 4
#: Of a ring's slots over the first batch: later ones may be larger.
_LARGER = 1.25
_HEADER = 4096
#: Smaller batches are faster through torch's own queue.
_LEAST = 2**16
#: What a batch may have in it besides tensors.
_PLAIN = (str, bytes, int, float, bool, type(None))


class _Placed:
    """A tensor that lies in the slot."""

    __slots__ = ("begin", "dtype", "shape")

    def __init__(self, begin: int, dtype: torch.dtype, shape: Sequence[int]) -> None:
        self.begin, self.dtype, self.shape = begin, dtype, tuple(shape)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.begin, self.dtype, self.shape

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.begin, self.dtype, self.shape = state


class _Filled:
    """A batch in a slot, on its way. What comes out of the queue is the batch itself, so nobody meets this."""

    __slots__ = ("batch", "name", "ring", "size", "slot")

    def __init__(self, ring: _Ring, name: bytes, slot: int, size: int, batch: Any) -> None:
        self.ring, self.name, self.slot, self.size, self.batch = ring, name, slot, size, batch

    def __reduce__(self) -> tuple[Any, ...]:
        slots = len(self.ring.in_use)
        return opened, (self.ring.memory.path, os.getpid(), self.name, slots, self.slot, self.size, self.batch)


class _Ring:
    """Slots of a worker, mapped in one process."""

    def __init__(self, memory: SharedMemory, slots: int) -> None:
        self.memory, self.size = memory, (memory.size - _HEADER) // slots
        self.bytes = np.frombuffer(memory.map, np.uint8)
        self.in_use = self.bytes[:slots]
        #: Whether the training has mapped it, so that the worker need not keep it.
        self.mapped = self.bytes[_HEADER - 1 : _HEADER]

    @classmethod
    def create(cls, slots: int, size: int) -> _Ring:
        size = -(-size // _HEADER) * _HEADER
        return cls(SharedMemory.create(f"ring-{os.getpid()}", _HEADER + slots * size), slots)

    def slot(self, number: int) -> np.ndarray:
        begin = _HEADER + number * self.size
        return self.bytes[begin : begin + self.size]


class _NoRoom(Exception):
    """The batch does not fit into a slot; or it has something in it that does not go there."""


class Collate:
    """Runs in the worker: collates into a slot where it can, and as torch does where it cannot."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.ring: _Ring | None = None
        #: With smaller slots, which the training may yet have to find.
        self.older: list[_Ring] = []
        #: Of the ring: another process may get the number of one that is gone.
        self.name = b""
        self.process = 0

    def __call__(self, samples: list[Any]) -> Any:
        if get_worker_info() is None:
            return default_collate(samples)
        if self.process != os.getpid():
            self.ring, self.older, self.process = None, [], os.getpid()
        if self.ring is not None:
            free = np.flatnonzero(self.ring.in_use == 0)
            if len(free):
                try:
                    return self._into(self.ring, int(free[0]), samples)
                except _NoRoom:
                    pass
                except Exception:  # of containers that take tensors alone; what is wrong with the data torch says, too
                    self.older.append(self.ring)
                    self.slots, self.ring = 0, None
        batch = default_collate(samples)
        size = _size(batch)
        if size >= _LEAST and (self.ring is None or size > self.ring.size) and self.slots:
            self.older = [ring for ring in (*self.older, self.ring) if ring is not None and not ring.mapped[0]]
            try:
                self.ring = _Ring.create(self.slots, int(_LARGER * size))
            except (AttributeError, OSError):  # not on Linux, or no room
                self.ring, self.slots = None, 0
            self.name = os.urandom(8)
        return batch

    def _into(self, ring: _Ring, number: int, samples: list[Any]) -> _Filled:
        slot = ring.slot(number)
        used = 0

        def room(like: Tensor, shape: tuple[int, ...]) -> tuple[_Placed, Tensor]:
            nonlocal used
            begin = -(-used // ALIGNMENT) * ALIGNMENT
            size = like.element_size() * math.prod(shape)
            if type(like) is not Tensor or like.layout is not torch.strided or like.requires_grad or not size:
                raise _NoRoom
            if like.device.type != "cpu" or like.is_quantized:
                raise _NoRoom
            if begin + size > len(slot):
                raise _NoRoom
            used = begin + size
            place = torch.from_numpy(slot[begin:used]).view(like.dtype).view(shape)
            return _Placed(begin, like.dtype, shape), place

        def stacked(tensors: list[Tensor], *, collate_fn_map: Any = None) -> _Placed:
            placed, out = room(tensors[0], (len(tensors), *tensors[0].shape))
            # Samples that differ in shape fail here as they do in torch.
            torch.stack(tensors, 0, out=out)
            return placed

        def moved(leaf: Any) -> Any:
            """Of numbers torch makes a tensor itself."""
            if isinstance(leaf, Tensor):
                placed, out = room(leaf, tuple(leaf.shape))
                out.copy_(leaf)
                return placed
            if isinstance(leaf, (_Placed, *_PLAIN)):
                return leaf
            raise _NoRoom

        batch = tree.tree_map(moved, collate(samples, collate_fn_map={**default_collate_fn_map, Tensor: stacked}))
        ring.in_use[number] = 1
        return _Filled(ring, self.name, number, used, batch)


#: By the worker: the rings that this process reads. One of a worker that is gone goes with the next worker's first.
_rings: dict[int, tuple[bytes, _Ring]] = {}


def received() -> bool:
    """Whether a batch has come in a slot."""
    return bool(_rings)


def opened(path: str, worker: int, name: bytes, slots: int, slot: int, size: int, batch: Any) -> Any:
    """The batch that lies in a worker's slot; its tensors lie there, and the slot is free when the last one goes."""
    found = _rings.get(worker)
    if found is None or found[0] != name:
        # Threads that pin memory do this, too, each for its loader.
        for other in list(_rings):
            if not os.path.exists(f"/proc/{other}"):
                _rings.pop(other, None)
        try:
            memory = SharedMemory.attach(path)
        except OSError:
            raise RuntimeError(f"a batch is lost: the worker {worker}, in whose memory it lies, was killed") from None
        found = _rings[worker] = name, _Ring(memory, slots)
        found[1].mapped[:] = 1
    whole = torch.from_numpy(_lease(found[1], slot, size))

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, _Placed):
            return leaf
        end = leaf.begin + leaf.dtype.itemsize * math.prod(leaf.shape)
        return whole[leaf.begin : end].view(leaf.dtype).view(leaf.shape)

    return tree.tree_map(tensor, batch)


def _lease(ring: _Ring, slot: int, size: int) -> np.ndarray:
    """An array of its own: it lives as long as a tensor of the batch, and then the slot is free."""
    lease = ring.slot(slot)[:size]
    weakref.finalize(lease, _free, ring, slot, os.getpid())
    return lease


def _free(ring: _Ring, slot: int, process: int) -> None:
    # A forked child has the lease, too, and what it drops its parent may still read.
    if os.getpid() == process:
        ring.in_use[slot] = 0


def why_not(loader: DataLoader[Any]) -> str | None:
    """Why batches of this loader come as they do from torch; None where they can be written into slots."""
    if not loader.num_workers:
        return "there are no workers"
    if loader.batch_size is None and loader.batch_sampler is None:
        return "samples are not put together into batches"
    if loader.collate_fn is not default_collate:
        return "batches are put together by a function of the script's own"
    return None


def collate_of(loader: DataLoader[Any]) -> Collate:
    """What its workers put samples together with."""
    return Collate((loader.prefetch_factor or 2) + _MORE_SLOTS)


def _size(batch: Any) -> int:
    tensors = [leaf for leaf in tree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    return sum(each.nbytes + ALIGNMENT for each in tensors)
