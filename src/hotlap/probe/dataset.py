"""What a loader's data set is like, by the loader's settings and the first batches that it hands over."""

from __future__ import annotations

import math
import weakref
from contextlib import suppress
from typing import Any

from hotlap.probe.levers.fetching import tree
from hotlap.probe.levers.padding import needed
from hotlap.probe.levers.rows import rows

#: Batches of a loader that are looked at.
_LOOKED_AT = 3


def describe(torch: Any, loader: Any) -> dict[str, Any]:
    dataset, found = loader.dataset, {}
    if not isinstance(dataset, torch.utils.data.IterableDataset):
        with suppress(Exception):  # one without a length
            found["length"] = len(dataset)
        stacks = loader.batch_size is not None or loader.batch_sampler is not None
        found["stacked"] = stacks and loader.collate_fn is torch.utils.data.default_collate
        found["indexed"] = False
        with suppress(Exception):  # mostly NotRows
            rows(torch, dataset)
            found["indexed"] = found["stacked"]
    return found


def look_at_batches(torch: Any, iterator: Any, found: dict[str, Any]) -> None:
    """Look at the first ones of an iteration, each as it comes; what looks takes itself away."""
    if "batches" in found or not hasattr(iterator, "_next_data"):
        return
    found["batches"] = 0
    # Without a reference to the iterator itself: its workers end when the script lets go of it, and no later.
    weak = weakref.ref(iterator)
    others = iterator.__dict__.get("_next_data")

    def following() -> Any:
        nonlocal others
        iterator = weak()
        assert iterator is not None
        iterator.__dict__.pop("_next_data", None)
        batch = iterator._next_data() if others is None else others()
        others = None
        with suppress(Exception):  # a container or a tensor of the script's own
            _look(torch, batch, found)
        if found["batches"] < _LOOKED_AT:
            iterator._next_data = following
        return batch

    iterator._next_data = following


def _look(torch: Any, batch: Any, found: dict[str, Any]) -> None:
    leaves = tree().tree_leaves(batch)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()]
    if not tensors:
        found["batches"] = _LOOKED_AT
        return
    size = tensors[0].shape[0]
    shapes = [str((leaf.dtype, *leaf.shape[1:])) for leaf in tensors]
    alike = len(tensors) == len(leaves) and all(leaf.shape[0] == size for leaf in tensors)
    found["alike"] = found.get("alike", True) and alike and found.get("_shapes", shapes) == shapes
    found["_shapes"] = shapes
    count = found["batches"]
    bytes_of_sample = sum(leaf.nbytes for leaf in tensors) / max(size, 1)
    found["sample_bytes"] = (found.get("sample_bytes", 0.0) * count + bytes_of_sample) / (count + 1)
    length = needed(torch, batch)
    padding = 0.0 if length is None else 1 - length[1] / length[0]
    found["padding"] = (found.get("padding", 0.0) * count + padding) / (count + 1)
    found["batches"] = count + 1


def collected(found: dict[str, Any]) -> dict[str, Any]:
    """Without what was only noted in between."""
    return {
        name: value
        for name, value in found.items()
        if name[0] != "_" and not (isinstance(value, float) and not math.isfinite(value))
    }
