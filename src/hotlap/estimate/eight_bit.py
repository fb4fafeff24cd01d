"""Adam with its state in 8 bits, as large as that of bitsandbytes, and nothing else of it: for imitated tensors.

    parameters of at least 4096 numbers    two moments of a byte a number, and a float32 scale for each 256 of them
    smaller ones                           two moments in float32

The two tables of 256 float32 values that the bytes stand for are shared by all. Its kernels need nothing besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hotlap.train.config import TrainConfig
from hotlap.train.optimizers import build_optimizer

_SMALLEST, _BLOCK, _TABLE = 4096, 256, 256


class EightBitAdam(Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})
        self._tables: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss to return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    self.state[parameter] = self._state(parameter)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        size = parameter.numel()
        if size < _SMALLEST:
            return {name: torch.empty(size) for name in ("state1", "state2")}
        self._tables = self._tables or (torch.empty(_TABLE), torch.empty(_TABLE))
        state = {name: torch.empty(size, dtype=torch.uint8) for name in ("state1", "state2")}
        state |= {name: torch.empty(-(-size // _BLOCK)) for name in ("absmax1", "absmax2")}
        return state | dict(zip(("qmap1", "qmap2"), self._tables, strict=True))


def imitated_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The training's own, but in 8 bits one that needs no library."""
    return EightBitAdam(model.parameters()) if config.optimizer.endswith("8bit") else build_optimizer(model, config)
