"""Sequences cut to the longest of their batch, where they were padded to one length for all.

    tokens  5 3 9 0 0 0 0 0      mask  1 1 1 0 0 0 0 0          tokens  5 3 9 0      mask  1 1 1 0
            7 0 0 0 0 0 0 0            1 0 0 0 0 0 0 0   ──>            7 0 0 0            1 0 0 0

What is cut is told by a mask; every other integer tensor of that shape must hold one and the same number there. The
length is rounded up to a multiple, so that there are few different ones. What a model makes of shorter sequences is
rounded otherwise, and dropout draws fewer numbers.
"""

from __future__ import annotations

import functools
from collections.abc import MutableMapping
from typing import Any

from hotlap.probe.levers.base import Lever


def needed(torch: Any, batch: Any) -> tuple[int, int] | None:
    """Return how long a batch's sequences are and how long they have to be, None where that cannot be told."""
    tensors = [each for each in _values(batch) if isinstance(each, torch.Tensor)]
    # A mask says where something is: in each row from its beginning on.
    masks = [each for each in tensors if each.dim() == 2 and each.shape[1] > 1 and _is_mask(each)]
    # What is inside of something else would stay as it is.
    if not masks or any(isinstance(each, (list, tuple, MutableMapping)) for each in _values(batch)):
        return None
    shape = max((mask.shape for mask in masks), key=lambda shape: int(shape[1]))
    masks = [mask for mask in masks if mask.shape == shape]
    # Whatever may belong to the positions.
    tokens = [each for each in tensors if shape[1] in each.shape[1:] and not any(each is mask for mask in masks)]
    if not tokens or any(each.shape != shape or each.is_floating_point() or each.is_complex() for each in tokens):
        return None
    used = functools.reduce(torch.maximum, [mask.to(torch.uint8).amax(0) for mask in masks])
    length = int(used.count_nonzero())
    for each in tokens:
        beyond = each[:, length:]
        if beyond.numel() and not bool((beyond == beyond[0, 0]).all()):
            return None
    return int(shape[1]), length


def _values(batch: Any) -> list[Any]:
    if isinstance(batch, MutableMapping):
        return list(batch.values())
    return list(batch) if isinstance(batch, (list, tuple)) else []


def _is_mask(tensor: Any) -> bool:
    if tensor.is_complex() or not tensor.numel():
        return False
    ones = tensor == 1
    falls = ones[:, 1:] <= ones[:, :-1]
    return bool((ones | (tensor == 0)).all() and falls.all() and ones[:, 0].all())


class TrimPadding(Lever):
    """``value``: lengths are multiples of it."""

    name = "trim_padding"
    never = "no batch had a mask and tokens that are padding in all rows of its last columns"
    live = True

    def install(self) -> None:
        iterator = self.torch.utils.data.dataloader._BaseDataLoaderIter
        following = iterator.__next__

        @functools.wraps(following)
        def __next__(batches: Any) -> Any:  # noqa: N807
            batch = following(batches)
            return batch if self.value is None else self.trimmed(batch)

        iterator.__next__ = __next__

    def trimmed(self, batch: Any) -> Any:
        try:
            found = needed(self.torch, batch)
        except Exception:  # a container or a tensor of the script's own
            return batch
        if found is None:
            return batch
        length = min(found[0], -(-max(found[1], 1) // self.value) * self.value)
        if length == found[0]:
            return batch
        self.pulled()

        def cut(each: Any) -> Any:
            longer = isinstance(each, self.torch.Tensor) and each.dim() == 2 and each.shape[1] == found[0]
            return each[:, :length].contiguous() if longer else each

        if isinstance(batch, MutableMapping):
            for key in list(batch):
                batch[key] = cut(batch[key])
            return batch
        values = [cut(each) for each in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
