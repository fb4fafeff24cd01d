"""Orders that put like samples beside each other. Both change what the training sees together: only where asked for.

grouped   clips of a few sequences at a time, so that the frames which they share are still in the cache
alike     batches of samples alike in length, so that little of them is padding
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch.utils.data import Sampler


class GroupedSampler(Sampler[int]):
    """Numbers of the clips of ``together`` sequences at a time, shuffled among themselves; then of the next ones.

    ``sequences``: for each number the sequence that it belongs to. Every clip comes once in an epoch, which sequences
    come together is drawn anew in each, and the order depends on seed and epoch alone (``set_epoch``).

    What it does to shuffling: consecutive batches come from the same ``together`` sequences, so that their gradients
    are alike, running statistics follow them, and the end of an epoch is trained on the last sequences. More of them
    together are nearer to full shuffling, and need a cache that holds all of their frames.

    Of several ranks each takes its part of the same sequences, and all the same number: as torch's
    ``DistributedSampler`` does it, the first ones come again at the end, or with ``drop_last`` the last ones are left
    out. ``rank`` and ``num_replicas``: None asks torch.distributed, or else the environment.
    """

    def __init__(
        self,
        sequences: Sequence[Hashable],
        together: int = 2,
        *,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
        drop_last: bool = False,
    ) -> None:
        if together < 1:
            raise ValueError(f"{together} sequences at a time make no clips: together is at least 1")
        self.sequences, self.together, self.seed, self.epoch = sequences, together, seed, 0
        found = (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else None
        if found is None:
            found = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = found[0] if rank is None else rank
        self.num_replicas = found[1] if num_replicas is None else num_replicas
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"there is no rank {self.rank} among {self.num_replicas}")
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order: list[int] = torch.randperm(len(self.sequences), generator=generator).tolist()
        order = grouped(order, self.sequences, self.together, generator)
        wanted = len(self) * self.num_replicas
        # Where there are fewer clips than ranks, more than once.
        order = (order * -(-wanted // max(1, len(order))))[:wanted]
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        clips, ranks = len(self.sequences), self.num_replicas
        return clips // ranks if self.drop_last else -(-clips // ranks)


def grouped(order: list[int], sequences: Sequence[Hashable], together: int, generator: torch.Generator) -> list[int]:
    """The same numbers, those of ``together`` sequences before those of others; within these in the same order."""
    names = list(dict.fromkeys(sequences))
    drawn = torch.randperm(len(names), generator=generator).tolist()
    group = {name: place // together for name, place in zip(names, drawn, strict=True)}
    # A stable sort: what is shuffled stays so within a group.
    return sorted(order, key=lambda number: group[sequences[number]])


def alike(order: list[int], lengths: Sequence[int], size: int, generator: torch.Generator) -> list[int]:
    """The same numbers, so that each batch of ``size`` holds samples alike in length; batches come at random.

    Samples of one length stay in their order. What fills no batch, the longest ones, comes at the end.
    """
    ordered = sorted(order, key=lengths.__getitem__)
    whole = len(ordered) // size
    batches = torch.randperm(whole, generator=generator).tolist()
    return [n for i in batches for n in ordered[i * size : (i + 1) * size]] + ordered[whole * size :]
