"""The card that an estimate is for, and what of its memory is left for tensors."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from hotlap.errors import UsageError
from hotlap.estimate.cards import Card, find
from hotlap.estimate.fitting import Room
from hotlap.estimate.workspace import allowances, kept_by_driver, of_ranks


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The card that is asked about."""

    name: str
    memory: int
    capability: tuple[int, int] | None = None
    #: The memory is what CUDA reports here, and not what the card is sold with.
    reported: bool = False
    #: Of the catalogue, for its rates.
    card: Card | None = None

    def room(self, gradients: int, ranks: int) -> Room:
        kept = [] if self.reported else [kept_by_driver(self.memory)]
        shared = of_ranks(gradients) if ranks > 1 else []
        return Room(self.memory, [*kept, *allowances(self.capability), *shared])


def device_of(name: str | None, memory: int | None) -> Device:
    """The card of this name or of this memory, or that of this machine where both are None.

    Raises:
        UsageError: it is unknown, or there is none.
    """
    if name is not None:
        try:
            return of_catalogue(find(name, memory), memory)
        except UsageError:
            # A card may have been given other memory than it is sold with.
            if memory is None:
                raise
            return of_catalogue(find(name), memory)
    if memory is not None:
        return Device(name=f"a GPU with {memory / 2**30:.4g} GiB", memory=memory)
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            'PyTorch sees no GPU here: say which card is meant with --gpu "RTX 4090" or --gpu-memory 24GiB, or ask '
            "about all of them with --all"
        )
    known = torch.cuda.get_device_properties(0)
    card = None
    with suppress(UsageError):  # its rates are not known then
        card = find(known.name, known.total_memory)
    capability = (known.major, known.minor)
    return Device(name=known.name, memory=known.total_memory, capability=capability, reported=True, card=card)


def of_catalogue(card: Card, memory: int | None = None) -> Device:
    """A card with its own memory, or another."""
    size = memory or card.shows or card.memory
    if size is None:
        raise UsageError(f"{card.name} shares its memory with the CPU: say how much it may have with --gpu-memory")
    digits = (card.capability or "").split(".")
    is_cuda = card.vendor == "NVIDIA" and len(digits) == 2
    capability = (int(digits[0]), int(digits[1])) if is_cuda else None
    return Device(name=card.name, memory=size, capability=capability, card=card)
