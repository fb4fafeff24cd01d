"""Data that are tensors already: a batch is one indexing, without loader, workers or collating.

tensors (N, ...) ── on the device, if they fit ── permutation of the epoch ── index_select ── batch
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from hotlap.probe.shared.room import spare

#: Of the free memory of a device, for samples: the training wants the rest.
_SHARE = 0.5


class TensorBatches:
    """Batches of ``data``: a tensor, or a dict, list or tuple of tensors, whose first dimensions are the samples.

    With the same ``generator`` in the same state it gives the batches of a ``torch.utils.data.DataLoader`` over a
    ``TensorDataset`` of them, in that order, as a tree like ``data``. ``device``: where they are to lie; ``reason``
    says why they do not, where there is no room, and then each batch is copied there. A batch is a copy: what is done
    to it is done to it alone.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        leaves, self._structure = tree.tree_flatten(data)
        if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() for leaf in leaves):
            raise TypeError("the data must be tensors with a first dimension of samples, alone or in a tree")
        if len({len(leaf) for leaf in leaves}) != 1:
            raise ValueError(f"the tensors have {sorted({len(leaf) for leaf in leaves})} samples, and not all as many")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, and must be at least 1")
        self.samples, self.batch_size = len(leaves[0]), batch_size
        self.shuffle, self.generator, self.drop_last = shuffle, generator, drop_last
        self.device = leaves[0].device if device is None else torch.device(device)
        self.reason: str | None = None
        if any(leaf.device != self.device for leaf in leaves):
            wanted, free = sum(leaf.nbytes for leaf in leaves), _free(self.device)
            if wanted <= _SHARE * free:
                leaves = [leaf.to(self.device) for leaf in leaves]
            else:
                self.reason = (
                    f"the samples take {wanted / 2**30:.2f} GiB, more than half of the {free / 2**30:.2f} that are "
                    f"free on {self.device}"
                )
        self._leaves: list[Tensor] = leaves

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (bool(rest) and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        order = self._order()
        places = {device: order.to(device) for device in {leaf.device for leaf in self._leaves}}
        for begin in range(0, len(self) * self.batch_size, self.batch_size):
            end = begin + self.batch_size
            batch = [leaf.index_select(0, places[leaf.device][begin:end]).to(self.device) for leaf in self._leaves]
            yield tree.tree_unflatten(batch, self._structure)
        if self.shuffle and self.generator is not None:
            # Torch's sampler draws once more, for samples beyond a whole permutation, of which there are none.
            torch.randperm(self.samples, generator=self.generator)

    def _order(self) -> Tensor:
        # As torch's loader draws: a seed for its workers; then its sampler, which without a generator draws one's seed.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        if not self.shuffle:
            return torch.arange(self.samples)
        generator = self.generator
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        return torch.randperm(self.samples, generator=generator)


def _free(device: torch.device) -> float:
    """Bytes."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else spare()
