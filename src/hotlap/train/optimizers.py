"""The optimizer and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from hotlap.errors import ConfigError
from hotlap.train.config import TrainConfig

#: ``auto`` leaves the choice to PyTorch, as a script does that says nothing.
IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "auto": {},
    "for-loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    how = IMPLEMENTATIONS[config.optimizer_implementation]
    parameters = model.parameters()
    try:
        if config.optimizer == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                foreach=how.get("foreach"),
                fused=how.get("fused"),
            )
        family = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        return family(
            parameters,
            lr=config.lr,
            weight_decay=config.weight_decay,
            foreach=how.get("foreach"),
            fused=how.get("fused"),
        )
    except RuntimeError as error:
        raise ConfigError(
            f"optimizer_implementation {config.optimizer_implementation} does not work for {config.optimizer} here "
            f"({error}): set it to auto"
        ) from None


def build_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig) -> LambdaLR:
    """Linear warm-up, then constant, or half a cosine down to 1 % of the learning rate."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)
