"""The optimizer and the schedule of its learning rate."""

from __future__ import annotations

import importlib
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
    if config.optimizer.endswith("8bit"):
        return _eight_bit(model, config)
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
            f"{config.path('optimizer_implementation')} {config.optimizer_implementation} does not work for "
            f"{config.optimizer} here ({error}): set it to auto"
        ) from None


def _eight_bit(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Of the first library that is there. In bitsandbytes, Adam takes weight decay off the weights, as AdamW does."""
    name = {"adam8bit": "Adam8bit", "adamw8bit": "AdamW8bit"}[config.optimizer]
    decay_is_added = config.optimizer == "adam8bit" and config.weight_decay > 0
    obstacles = []
    for library in ("torchao",) if decay_is_added else ("bitsandbytes", "torchao"):
        try:
            family = getattr(importlib.import_module(f"{library}.optim"), name)
        except Exception as error:  # whatever a package does that cannot be used here
            obstacles.append(f"{library}: {str(error).partition(chr(10))[0]}")
            continue
        optimizer: torch.optim.Optimizer = family(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        return optimizer
    needed = "torchao, for a weight_decay above 0" if decay_is_added else "bitsandbytes or torchao"
    raise ConfigError(
        f"{config.path('optimizer')} is {config.optimizer}, which needs {needed} ({'; '.join(obstacles)}): "
        f"install it, or set it to {config.optimizer.removesuffix('8bit')}"
    )


def build_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, total: int) -> LambdaLR:
    """Linear warm-up, then constant, or half a cosine down to 1 % of the learning rate after ``total`` steps."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        progress = (step - config.warmup_steps) / max(total - config.warmup_steps, 1)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)
