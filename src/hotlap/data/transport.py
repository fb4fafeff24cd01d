"""``SharedBatches``: a loader whose workers write their batches where the training reads them; see ``shared.ring``."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from hotlap.probe.shared.ring import collate_of, why_not


class SharedBatches(DataLoader[Any]):
    """A ``DataLoader`` whose workers write their batches where the training reads them.

    For samples that torch's own collate puts together. With another ``collate_fn`` and without workers it is the loader
    that it is made from, as ``reason`` says. Batches under 64 KiB, and those that hold anything but tensors, texts and
    numbers, come as they do from torch. A batch may be kept as long as one likes: its slot is used again when no tensor
    lies in it any more, and while none is free batches come as they do from torch, too. ``pin_memory`` copies batches
    into pinned memory, as it does with torch's loader.
    """

    def __init__(self, dataset: Any, *args: Any, **options: Any) -> None:
        super().__init__(dataset, *args, **options)
        self.reason: str | None = why_not(self)
        if self.reason is None:
            self.collate_fn = collate_of(self)
