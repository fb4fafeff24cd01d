"""Adam with its state in 8 bits, as large as that of bitsandbytes, and nothing else of it: for imitated tensors.

    parameters of at least 4096 numbers    two moments of a byte a number, and a float32 scale for each 256 of them
    smaller ones                           two moments in float32

The two tables of 256 float32 values that the bytes stand for are shared by all. Its kernels need nothing besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hotlap.estimate.timeline import Block, Timeline
from hotlap.train.config import TrainConfig
from hotlap.train.optimizers import build_optimizer

_SMALLEST, _BLOCK, _TABLE = 4096, 256, 256


def state_sizes(numbers: int) -> list[int]:
    """Bytes of the tensors that are kept for a parameter of so many numbers."""
    if numbers < _SMALLEST:
        return [4 * numbers] * 2
    return [numbers] * 2 + [4 * -(-numbers // _BLOCK)] * 2


class EightBitAdam(Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})
        self._tables: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss to return
        self._tables = self._tables or (torch.empty(_TABLE), torch.empty(_TABLE))
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    sizes = state_sizes(parameter.numel())
                    parts = (*(torch.empty(size, dtype=torch.uint8) for size in sizes), *self._tables)
                    self.state[parameter] = {str(number): part for number, part in enumerate(parts)}


def imitated_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The training's own, but in 8 bits one that needs no library."""
    return EightBitAdam(model.parameters()) if config.optimizer.endswith("8bit") else build_optimizer(model, config)


def in_eight_bits(timeline: Timeline, parameters: Iterable[int]) -> Timeline:
    """Another optimizer's timeline with the state in 8 bits in its place, for parameters of so many numbers each."""
    blocks = list(timeline.blocks)
    events: list[int] = []
    at: int | None = None
    for event in timeline.events:
        if blocks[event if event >= 0 else ~event].phase == "optimizer":
            at = len(events) if at is None else at
        else:
            events.append(event)
    sizes = [*(size for numbers in parameters for size in state_sizes(numbers)), 4 * _TABLE, 4 * _TABLE]
    state = range(len(blocks), len(blocks) + len(sizes))
    blocks += [Block(size, "aten.empty.memory_format", "", "optimizer", 1, "optimizer") for size in sizes]
    at = len(events) if at is None else at
    return Timeline(blocks, [*events[:at], *state, *events[at:]])
