"""What the reference trainer can train: each workload is a network, its data, its loss and its validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from hotlap.train.config import TrainConfig


class Workload(Protocol):
    """What the trainer asks of a workload."""

    model: nn.Module
    #: Maps epoch * EPOCH_SAMPLES + i to (input, target), a function of that number and the seed alone.
    dataset: Dataset[tuple[Tensor, Tensor]]
    #: The method without learning that the network has to beat, and its quality.
    simple_method: str
    simple_quality: dict[str, float]

    def loss(self, output: Tensor, target: Tensor, step: int) -> Tensor:
        """Mean loss of a micro-batch."""

    def validate(self) -> dict[str, float]:
        """Quality on the held-out data, by metric."""


def build(config: TrainConfig, device: torch.device) -> Workload:
    """Make the workload that the configuration names, with its network on the device."""
    from hotlap.workloads.restoration import Restoration

    return Restoration(config, device)
