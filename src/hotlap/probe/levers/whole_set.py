"""All samples of a dataset as rows of one tensor for each part of a sample; see ``samples`` for when that may be."""

from __future__ import annotations

import os
from typing import Any

from hotlap.probe.levers.fetching import the_same, tree
from hotlap.probe.levers.samples import Keeping, Kept, NotKept
from hotlap.probe.randomness import own_generator

#: Of the memory that is free, the rows may take this share.
_OF_FREE = 0.5


class Table:
    """All samples as rows of a tensor for each part of a sample."""

    def __init__(self, torch: Any, count: int, device: str) -> None:
        self.torch, self.count, self.device = torch, count, device
        self.leaves: list[Any] = []
        self.structure: Any = None
        self.present = torch.zeros(count, dtype=torch.bool)
        self.missing = count

    def __contains__(self, key: int) -> bool:
        return not self.missing or bool(self.present[key])

    def put(self, keys: list[int], batch: Any) -> None:
        """Raises ``NotKept``: the samples are not all of one shape, or there is no room for them."""
        torch = self.torch
        leaves, structure = tree().tree_flatten(batch)
        if not all(type(leaf) is torch.Tensor and leaf.shape[:1] == (len(keys),) for leaf in leaves):
            raise NotKept("a sample holds something besides tensors and numbers")
        if not self.leaves:
            size = sum(leaf.nbytes for leaf in leaves) // len(keys) * self.count
            free = _free(torch, self.device)
            if free is not None and size > _OF_FREE * free:
                raise NotKept(f"all samples take {size / 1e9:.2g} GB, and {free / 1e9:.2g} GB are free")
            self.structure = structure
            self.leaves = [leaf.new_empty((self.count, *leaf.shape[1:]), device=self.device) for leaf in leaves]
        kinds = [(leaf.dtype, leaf.shape[1:]) for leaf in leaves]
        if structure != self.structure or kinds != [(mine.dtype, mine.shape[1:]) for mine in self.leaves]:
            raise NotKept("its samples have different shapes")
        index = torch.as_tensor(keys)
        for mine, leaf in zip(self.leaves, leaves, strict=True):
            mine[index.to(self.device)] = leaf.to(self.device)
        self.missing -= len(keys)
        self.present[index] = True

    def rows(self, keys: list[int]) -> Any:
        index = self.torch.as_tensor(keys, device=self.device)
        return tree().tree_unflatten([leaf.index_select(0, index) for leaf in self.leaves], self.structure)


def _free(torch: Any, device: str) -> int | None:
    """Bytes; None where it is not known."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


class WholeSet(Keeping):
    """``value``: the device on which the tensor lies, "cpu" or "cuda"."""

    name = "whole_set"

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        if self.value != "cpu":
            arguments.pop("pin_memory", None)  # what lies on the device already cannot be

    def begin(self, it: Any) -> Kept:
        if not self.stacks(it):
            raise NotKept("the script collates its batches itself")
        if own_generator(self.torch, it.dataset):
            raise NotKept("the dataset has a random generator of its own")
        return Kept(Table(self.torch, len(it.dataset), self.value))

    def keep(self, it: Any, store: Any, fetched: dict[Any, Any]) -> None:
        store.put(list(fetched), it.collate_fn(list(fetched.values())))

    def batch(self, it: Any, store: Any, keys: list[Any], fetched: dict[Any, Any]) -> Any:
        if fetched:
            self.keep(it, store, fetched)
        return store.rows(keys)

    def still(self, it: Any, store: Any, key: Any, now: Any) -> bool:
        alone = it.collate_fn([now])
        return the_same(self.torch, tree().tree_map(lambda leaf: leaf.to(store.device), alone), store.rows([key]))
