"""The processes that train together: one, or those that torchrun started.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; each rank trains on micro-batches of its own, and the gradients are
averaged by DistributedDataParallel. What only one can do (the log, the checkpoint, the validation) rank 0 does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.train.config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        if self.world == 1:
            return model
        devices = None if self.device.type == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def apart(self, trained: nn.Module) -> AbstractContextManager[None]:
        """Gradients of what is computed meanwhile stay with their rank."""
        if isinstance(trained, nn.parallel.DistributedDataParallel):
            apart: AbstractContextManager[None] = trained.no_sync()
            return apart
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """Over all ranks; in place."""
        if self.world > 1:
            dist.all_reduce(value)
            value /= self.world
        return value

    def lowest(self, value: Tensor) -> Tensor:
        """Of all ranks; in place."""
        if self.world > 1:
            dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return value

    def told(self, value: T) -> T:
        """What rank 0 has, on every rank."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, device=self.device)
        said: T = box[0]
        return said

    def gathered(self, value: T) -> list[T]:
        """What each rank has, by rank; on every rank."""
        if self.world == 1:
            return [value]
        box: list[Any] = [None] * self.world
        dist.all_gather_object(box, value)
        return box


@contextmanager
def ranks(config: TrainConfig) -> Iterator[Ranks]:
    """This process among those that train together; the group ends with the context."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(config, int(os.environ.get("LOCAL_RANK", "0")))
    if world == 1:
        yield Ranks(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(device, dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def choose_device(config: TrainConfig, local_rank: int = 0) -> torch.device:
    """The device to train on, if it can do what the configuration asks."""
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cuda" and not available:
        raise ConfigError(
            f"{config.path('device')} is cuda, but PyTorch sees no GPU here: set it to auto or cpu, or install the "
            "driver"
        )
    if config.device != "cpu" and available:
        if local_rank >= available:
            raise ConfigError(
                f"torchrun started a rank {local_rank} here, and PyTorch sees {available} GPUs: start as many ranks as "
                f"GPUs, or set {config.path('device')} to cpu"
            )
        return torch.device("cuda", local_rank)
    if config.use_mixed_precision and config.mixed_precision_dtype == "float16":
        raise ConfigError(
            f"{config.path('mixed_precision_dtype')} is float16 and the training runs on a CPU, where that is about 50 "
            f"times slower than float32: set it to bfloat16, or {config.path('use_mixed_precision')} to false"
        )
    return torch.device("cpu")
