"""The order of the samples, and the loader."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from hotlap.data.loader import memory_for_batches
from hotlap.errors import ConfigError
from hotlap.train.config import TrainConfig
from hotlap.train.ranks import Ranks
from hotlap.workers import Choice, choose, usable_cores
from hotlap.workloads import Batch, EpochDataset

#: Micro-batches by which "auto" chooses the workers, after those with which the training warms up; or whole steps.
_WARM, _MEASURED = 3, 8


class ShuffledEpoch(Sampler[int]):
    """Numbers of one epoch's samples for one rank, shuffled by seed and epoch alone, from ``start`` on.

    The epoch is inside the number, epoch * epoch_samples + i: workers that persist from epoch to epoch never hear of a
    new one otherwise.
    """

    def __init__(self, dataset: EpochDataset, config: TrainConfig, ranks: Ranks) -> None:
        self.epoch = 0
        self.start = 0
        self._dataset = dataset
        self._seed = config.seed
        self._ranks = ranks
        #: Samples of a micro-batch of all ranks together.
        self._together = config.batch_size * ranks.world
        if config.drop_last:
            # Whole steps, so that every division of a step into micro-batches trains on the same samples.
            step = self._together * config.accumulation_steps
            unit = step if step <= dataset.epoch_samples else self._together
        else:
            # What is left makes a smaller batch, the same on every rank.
            unit = ranks.world
        self._samples = dataset.epoch_samples // unit * unit

    def of_all_ranks(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**32)
        order = torch.randperm(self._dataset.epoch_samples, generator=generator)[: self._samples].tolist()
        return self._dataset.grouped(order, self._together, generator)

    def __iter__(self) -> Iterator[int]:
        order = self.of_all_ranks(self.epoch)
        rank, world, size = self._ranks.rank, self._ranks.world, self._together
        mine = [number for i in range(0, len(order), size) for number in order[i : i + size][rank::world]]
        first = self.epoch * self._dataset.epoch_samples
        yield from (first + number for number in mine[self.start :])

    def __len__(self) -> int:
        return self._samples // self._ranks.world - self.start


class Batches:
    """Micro-batches without end, epoch after epoch, that know where they are and can begin anywhere.

    Where the workers are "auto", the first micro-batches are fetched in the training itself, which measures both what a
    worker would take for one and what the training takes between two; then there are as many workers as keep up.
    """

    _loader: DataLoader[Batch] | None

    def __init__(self, dataset: EpochDataset, config: TrainConfig, ranks: Ranks, consumed: int = 0) -> None:
        #: Micro-batches that the training has taken; the workers may be ahead.
        self.consumed = consumed
        #: Seconds that the training has waited for them.
        self.waited = 0.0
        self._sampler = ShuffledEpoch(dataset, config, ranks)
        self._size = config.batch_size
        self.per_epoch = math.ceil(len(self._sampler) / self._size)
        if not self.per_epoch:
            raise ConfigError(
                f"an epoch has {dataset.epoch_samples} samples, fewer than {config.path('batch_size')} "
                f"({config.batch_size}) on {ranks.world} ranks: lower it"
            )
        self._on_device = dataset.on_device(ranks.device)
        self._dataset, self._config, self._ranks = dataset, config, ranks
        #: Told why there are so many workers, where they were chosen here.
        self.say: Callable[[str], None] = lambda _: None
        self._trial = Trial(config, ranks) if config.num_workers == "auto" and self._on_device is None else None
        self._loader = self._with(config.workers(ranks.world)) if self._trial is None else None

    def _with(self, workers: int) -> DataLoader[Batch]:
        config = self._config
        return DataLoader(
            self._dataset,  # type: ignore[arg-type]  # a Dataset is what has __getitem__
            batch_size=self._size,
            sampler=self._sampler,
            drop_last=config.drop_last,
            collate_fn=self._dataset.collate,
            num_workers=workers,
            prefetch_factor=config.prefetch_factor if workers else None,
            persistent_workers=config.persistent_workers and workers > 0,
            pin_memory=config.pin_memory and self._ranks.device.type == "cuda",
            # The loader draws a seed for its workers: not from the global generator, which would then depend on it.
            generator=torch.Generator().manual_seed(config.seed),
        )

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._sampler.epoch, done = divmod(self.consumed, self.per_epoch)
            self._sampler.start = done * self._size
            batches = self._batches()
            while True:
                began = time.perf_counter()
                batch = next(batches, None)
                waited = time.perf_counter() - began
                self.waited += waited
                if batch is None:
                    break
                self.consumed += 1
                if self._trial is None:
                    yield batch
                    continue
                with self._trial.step(waited):
                    yield batch
                chosen = self._trial.chosen(batch)
                if chosen is not None:
                    self._trial = None
                    self.say(chosen.why)
                    # Any number of workers gives the same samples, so a loader goes on where this is.
                    self._loader = self._with(chosen.workers)
                    break

    def epochs(self, number: int) -> list[list[int]]:
        """Samples of all ranks in the epoch that this is in, and in those after it, so many in all."""
        first = self.consumed // self.per_epoch
        return [self._sampler.of_all_ranks(epoch) for epoch in range(first, first + number)]

    def _batches(self) -> Iterator[Batch]:
        if self._on_device is not None:
            return self._on_device(self._numbers())
        if self._loader is not None:
            return iter(self._loader)
        # Without a loader: whoever watches the training sees the one that stays.
        collate = self._dataset.collate or default_collate
        return (collate([self._dataset[number] for number in batch]) for batch in self._numbers())

    def _numbers(self) -> list[list[int]]:
        order = list(self._sampler)
        return [order[i : i + self._size] for i in range(0, len(order), self._size)]


class Trial:
    """What the first micro-batches take, to fetch and to train on."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._config, self._ranks = config, ranks
        self._fetches: list[float] = []
        self._steps: list[float] = []

    @contextmanager
    def step(self, fetched_in: float) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self._ranks.device.type == "cuda":
            # The device is still at it when the host comes for more.
            torch.cuda.synchronize(self._ranks.device)
        self._fetches.append(fetched_in)
        self._steps.append(time.perf_counter() - began)

    def chosen(self, batch: Batch) -> Choice | None:
        """Workers for batches like this one; None while too little is measured."""
        # A step may take all its micro-batches first.
        together = self._config.accumulation_steps
        warm, measured = (-(-count // together) * together for count in (_WARM, _MEASURED))
        if len(self._steps) < warm + measured:
            return None
        steps = [sum(self._steps[i : i + together]) / together for i in range(warm, warm + measured, together)]
        return choose(
            median(self._fetches[warm:]),
            median(steps),
            cores=usable_cores(),
            ranks=int(os.environ.get("LOCAL_WORLD_SIZE", str(self._ranks.world))),
            ready=sum(part.nbytes for part in batch) * (self._config.prefetch_factor + 1),
            memory=memory_for_batches(),
        )


def move(batch: Batch, device: torch.device, config: TrainConfig) -> Batch:
    def moved(x: Tensor) -> Tensor:
        layout = torch.channels_last if config.channels_last and x.dim() == 4 else torch.preserve_format
        return x.to(device, non_blocking=config.pin_memory, memory_format=layout)

    return tuple(map(moved, batch))
