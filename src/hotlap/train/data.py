"""The order of the samples, and the loader."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hotlap.train.config import EPOCH_SAMPLES, TrainConfig

Batch = tuple[Tensor, Tensor]


class ShuffledEpoch(Sampler[int]):
    """Numbers of one epoch's samples, shuffled by seed and epoch alone, from ``start`` on.

    The epoch is inside the number, epoch * EPOCH_SAMPLES + i: workers that persist from epoch to epoch never hear of a
    new one otherwise.
    """

    def __init__(self, seed: int, samples: int) -> None:
        self.epoch = 0
        self.start = 0
        self._seed = seed
        #: A whole number of batches.
        self.samples = samples

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self.epoch) % 2**32)
        order = torch.randperm(EPOCH_SAMPLES, generator=generator)[self.start : self.samples]
        yield from (order + self.epoch * EPOCH_SAMPLES).tolist()

    def __len__(self) -> int:
        return self.samples - self.start


class Batches:
    """Micro-batches without end, epoch after epoch, that know where they are and can begin anywhere."""

    def __init__(self, dataset: Dataset[Batch], config: TrainConfig, device: torch.device, consumed: int = 0) -> None:
        #: Micro-batches that the training has taken; the workers may be ahead.
        self.consumed = consumed
        size = config.batch_size
        self._per_epoch = EPOCH_SAMPLES // size
        self._sampler = ShuffledEpoch(config.seed, self._per_epoch * size)
        self._batch_size = size
        workers = config.num_workers
        self._loader: DataLoader[Batch] = DataLoader(
            dataset,
            batch_size=size,
            sampler=self._sampler,
            num_workers=workers,
            prefetch_factor=config.prefetch_factor if workers else None,
            persistent_workers=config.persistent_workers and workers > 0,
            pin_memory=config.pin_memory and device.type == "cuda",
            drop_last=True,
            # The loader draws a seed for its workers: not from the global generator, which would then depend on it.
            generator=torch.Generator().manual_seed(config.seed),
        )

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._sampler.epoch, done = divmod(self.consumed, self._per_epoch)
            self._sampler.start = done * self._batch_size
            for batch in self._loader:
                self.consumed += 1
                yield batch
