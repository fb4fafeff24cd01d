"""What the reference trainer can train: each workload is a network, its data, its loss and its validation.

restoration    photographs: noise removed, or enlarged
vrt_spike      video: blur removed, with the help of a spike camera
apt            small sequence-to-sequence transformer on pairs of words
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import Tensor, nn

    from hotlap.data import SampleCache
    from hotlap.train.config import TrainConfig

Batch = tuple["Tensor", ...]

#: Metrics that are better where they are smaller.
LESS_IS_BETTER = {"character_error_rate", "lpips"}


class EpochDataset(Protocol):
    """Maps epoch * epoch_samples + i to a sample, a function of that number and the seed alone."""

    @property
    def epoch_samples(self) -> int: ...

    @property
    def cache(self) -> SampleCache | None:
        """What of the samples, or of what they are made of, is kept in memory."""

    def predicted(self, epochs: list[list[int]], /) -> str | None:
        """Return what the cache will hit where samples are read in this order, in words; None where there is none."""

    @property
    def collate(self) -> Callable[[list[Any]], Batch] | None:
        """What makes a batch of samples; None: torch's own way."""

    def __getitem__(self, number: int, /) -> Any: ...

    def grouped(self, order: list[int], size: int, generator: torch.Generator, /) -> list[int]:
        """Return the order in which batches of ``size`` hold like samples, or the order as it is."""

    def on_device(self, device: torch.device, /) -> Callable[[list[list[int]]], Iterator[Batch]] | None:
        """Where the whole set is to lie on the device: what makes batches there of the numbers in each. Else None."""


class Task(Protocol):
    """What is trained, without its data: a network and its loss."""

    model: nn.Module

    @property
    def weight(self) -> Callable[[Batch], Tensor] | None:
        """Counts what the loss of a micro-batch is the mean of (tokens); None where all have as many."""

    def inputs(self, batch: Batch) -> Batch:
        """What of a batch the network takes; its loss may need the rest."""

    def loss(self, output: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        """Mean loss of a micro-batch as "loss", and what it is made of."""

    def blank(self, samples: int) -> Batch:
        """A micro-batch as large as they get, of the right shapes and types, with nothing in it."""


class Workload(Task, Protocol):
    """What the trainer asks of a workload."""

    #: The metric by which a validation is better than another: larger is better.
    metric: str
    #: The method without learning that the network has to beat, and its quality.
    simple_method: str
    simple_quality: dict[str, float]

    @property
    def dataset(self) -> EpochDataset: ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Quality on the held-out data, by metric."""


def build(config: TrainConfig, device: torch.device, ranks: int = 1) -> Workload:
    """Make the workload that the configuration names, with its network on the device, for one of so many ranks."""
    from hotlap.train.config import AptConfig, RestorationConfig, VrtSpikeConfig

    if isinstance(config, RestorationConfig):
        from hotlap.workloads.restoration import Restoration

        return Restoration(config, device)
    if isinstance(config, AptConfig):
        from hotlap.workloads.apt import Apt

        return Apt(config, device)
    assert isinstance(config, VrtSpikeConfig)
    from hotlap.workloads.vrt_spike import VideoDeblurring

    return VideoDeblurring(config, device, ranks)


def task(config: TrainConfig, device: torch.device) -> Task:
    """Make what the configuration trains, of its data only what the network depends on (the vocabulary)."""
    from hotlap.train.config import AptConfig, RestorationConfig, VrtSpikeConfig

    if isinstance(config, RestorationConfig):
        from hotlap.workloads.restoration import Restoring

        return Restoring(config, device)
    if isinstance(config, AptConfig):
        from hotlap.workloads.apt import Writing, vocabulary_of

        return Writing(config, device, len(vocabulary_of(config)))
    assert isinstance(config, VrtSpikeConfig)
    from hotlap.workloads.vrt_spike import Deblurring

    return Deblurring(config, device)
