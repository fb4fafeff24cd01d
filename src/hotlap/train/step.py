"""One optimizer step, as one would write it by hand: a training makes it, and an estimate of memory goes through it.

for each micro-batch:  inputs -> model(*inputs) -> loss / accumulation_steps -> backward
unscale (fp16), clip, optimizer.step(), running mean of the weights
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hotlap.train.config import TrainConfig
from hotlap.train.data import move
from hotlap.train.optimizers import build_optimizer
from hotlap.train.ranks import Ranks
from hotlap.workloads import Batch, Task


class Trained:
    """A network and what trains it: optimizer, scaler of float16 gradients, running mean of the weights."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        group: Ranks,
        optimizer: Callable[[nn.Module, TrainConfig], Optimizer] = build_optimizer,
    ) -> None:
        self._task, self._config, self._group = task, config, group
        self.model = prepare(task.model, config)
        self.average = averaged(self.model, config)
        self._parallel = group.parallel(self.model)
        self.optimizer = optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(group.device.type, init_scale=config.grad_scale, enabled=config.fp16)

    def step(self, batches: Iterator[Batch], number: int) -> tuple[int, dict[str, Tensor]]:
        """Make the step of this number; return its samples on all ranks, and its losses on this one."""
        task, config, group = self._task, self._config, self._group
        samples = 0
        sums: dict[str, Tensor] = {}
        for micro, (share, tensors) in enumerate(micro_batches(batches, task, config), 1):
            tensors = move(tensors, group.device, config)
            samples += len(tensors[0]) * group.world
            # Ranks share their gradients once in a step, with its last micro-batch.
            with group.apart(self._parallel) if micro < config.accumulation_steps else nullcontext():
                with autocast(group.device, config):
                    output = self._parallel(*task.inputs(tensors))
                losses = task.loss(output, tensors, number)
                self.scaler.scale(losses["loss"] * share).backward()  # type: ignore[no-untyped-call]  # of torch
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() * share
        if config.grad_clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return samples, sums


def micro_batches(batches: Iterator[Batch], task: Task, config: TrainConfig) -> Iterator[tuple[float | Tensor, Batch]]:
    """One step's, each with its share of the step's loss, which is the mean over all that this rank has in the step.

    The mean of the micro-batches' own means would be another one where they differ in what they have: a token would
    weigh more in a micro-batch of few, and each division of a step would be another training.
    """
    number, weight = config.accumulation_steps, task.weight
    if weight is None or number == 1:
        for _ in range(number):
            yield 1 / number, next(batches)
    else:
        # Only all of them together tell the share of each.
        parts = [next(batches) for _ in range(number)]
        weights = torch.stack([weight(part) for part in parts])
        yield from zip(weights / weights.sum(), parts, strict=True)


def prepare(model: nn.Module, config: TrainConfig) -> nn.Module:
    if config.channels_last:
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if config.compile_model:
        model.compile(mode=None if config.compile_mode == "default" else config.compile_mode)
    return model


def averaged(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    if not config.ema_decay:
        return None
    average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]  # of torch
    return AveragedModel(model, multi_avg_fn=average)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    dtype = torch.float16 if config.mixed_precision_dtype == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=config.use_mixed_precision)
