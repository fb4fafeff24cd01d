"""Checkpoints: everything that the rest of a training depends on, in one file that is there whole or not at all."""

from __future__ import annotations

import math
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import torch

from hotlap.errors import ConfigError, RunError
from hotlap.train.config import TrainConfig
from hotlap.train.ranks import Ranks

SCHEMA = 2


class Progress(msgspec.Struct):
    """Where a training is."""

    #: Optimizer steps and micro-batches of this rank that are behind it.
    step: int = 0
    consumed: int = 0
    #: The best validation so far, and how many came after it; whether one was ever better or worse than the first.
    best: float | None = None
    since_best: int = 0
    moved: bool = False
    #: What the place in the data depends on: samples of a micro-batch, of a step on all ranks, and the seed.
    batch_size: int = 0
    of_step: int = 0
    seed: int = 0
    optimizer: str = ""

    @classmethod
    def beginning(cls, config: TrainConfig, world: int) -> Progress:
        return cls(
            batch_size=config.batch_size,
            of_step=config.batch_size * config.accumulation_steps * world,
            seed=config.seed,
            optimizer=config.optimizer,
        )

    def validated(self, value: float) -> bool:
        """Note a validation; whether it is the best.

        A metric that has not moved yet, as a share of right answers at the beginning, says nothing of the training.
        """
        better = not math.isnan(value) and (self.best is None or value > self.best)
        self.moved = self.moved or (self.best is not None and value != self.best)
        self.best, self.since_best = (value, 0) if better else (self.best, self.since_best + self.moved)
        return better


class TrainingState:
    """The objects that a checkpoint holds."""

    def __init__(self, ranks: Ranks, config: TrainConfig, **parts: Any) -> None:
        self._ranks, self._config = ranks, config
        self._parts = parts

    def save(self, path: Path, progress: Progress) -> None:
        """Write the state; every rank must come here, and rank 0 writes it."""
        generators = self._ranks.gathered(_rng_states())
        if not self._ranks.first:
            return
        content = {name: part.state_dict() for name, part in self._parts.items()}
        content |= {"schema": SCHEMA, "progress": msgspec.to_builtins(progress), "rng": generators}
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    torch.save(content, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise RunError(
                f"cannot write the checkpoint {path} ({error.strerror}): free some space or change "
                f"{self._config.path('output_dir')}"
            ) from None

    def load(self, path: Path) -> Progress:
        """Restore everything; return where the training was."""
        key = self._config.path("resume")
        try:
            content = torch.load(path, map_location=self._ranks.device, weights_only=True)
            schema = content["schema"]
        except OSError as error:
            raise ConfigError(
                f"{key}: {path} cannot be read ({error.strerror}): give a checkpoint.pt of this training, "
                "or null to begin anew"
            ) from None
        except Exception:
            raise ConfigError(
                f"{key}: {path} is not a checkpoint of this trainer: give a checkpoint.pt from its output_dir, or null"
            ) from None
        if schema != SCHEMA:
            raise ConfigError(
                f"{key}: {path} has schema {schema}, and this hotlap reads {SCHEMA}: use the hotlap that wrote it"
            )
        if len(content["rng"]) != self._ranks.world:
            raise ConfigError(
                f"{key}: {path} was written by {len(content['rng'])} ranks, and these are {self._ranks.world}: start "
                "as many"
            )
        if ("average" in content) != ("average" in self._parts):
            there = "has" if "average" in content else "has no"
            raise ConfigError(
                f"{key}: {path} {there} running mean of the weights: set {self._config.path('ema_decay')} as it was"
            )
        progress = msgspec.convert(content["progress"], Progress)
        self._goes_with(path, progress)
        own = [dict(group, params=[]) for group in self._parts["optimizer"].param_groups]
        try:
            for name, part in self._parts.items():
                part.load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{key}: {path} is of another network or optimizer ({str(error).splitlines()[0]}): "
                "use the configuration that it was made with, or set it to null"
            ) from None
        self._as_configured(own)
        _restore_rng_states(content["rng"][self._ranks.rank])
        return progress

    def _goes_with(self, path: Path, progress: Progress) -> None:
        """Refuse a configuration with which the training would not go on; ``progress`` gets its division of a step."""
        config, now = self._config, Progress.beginning(self._config, self._ranks.world)
        if not progress.batch_size:  # of an earlier hotlap, which did not say
            progress.batch_size, progress.of_step = now.batch_size, now.of_step
            progress.seed, progress.optimizer = now.seed, now.optimizer
            return
        for name, before, given in (
            ("seed", progress.seed, now.seed),
            ("optimizer", _family(progress.optimizer), _family(now.optimizer)),
        ):
            if before != given:
                raise ConfigError(
                    f"{config.path('resume')}: {path} was made with {config.path(name)} "
                    f"{getattr(progress, name)}, and here it is {getattr(now, name)}: set it as it was, or begin anew"
                )
        if progress.of_step != now.of_step:
            raise ConfigError(
                f"{config.path('resume')}: a step of {path} had {progress.of_step} samples, and here it has "
                f"{now.of_step}: set {config.path('batch_size')} and {config.path('accumulation_steps')} so that it is "
                "as before, or begin anew"
            )
        if progress.batch_size == now.batch_size:
            return
        samples = progress.consumed * progress.batch_size
        grouped = getattr(config, "group_by_length", False) or getattr(config, "group_sequences", 0)
        if samples % now.batch_size or grouped or not config.drop_last:
            raise ConfigError(
                f"{config.path('resume')}: where {path} ends there is no end of a micro-batch of {now.batch_size}: set "
                f"{config.path('batch_size')} to {progress.batch_size}, as it was"
            )
        progress.consumed, progress.batch_size = samples // now.batch_size, now.batch_size

    def _as_configured(self, groups: list[dict[str, Any]]) -> None:
        """What the optimizer was told now and not then: learning rate, weight decay, implementation."""
        optimizer, schedule = self._parts["optimizer"], self._parts["schedule"]
        rates = [group["initial_lr"] for group in groups]
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group.update({name: value for name, value in own.items() if name not in ("params", "lr")})
        if [float(rate) for rate in schedule.base_lrs] != [float(rate) for rate in rates]:
            schedule.base_lrs = rates
            for group, rate, factor in zip(optimizer.param_groups, rates, schedule.lr_lambdas, strict=True):
                group["lr"] = rate * factor(schedule.last_epoch)
            schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


def _family(optimizer: str) -> str:
    """Optimizers that keep the same state."""
    return optimizer.replace("adamw", "adam")


def _rng_states() -> dict[str, Any]:
    """States of the global generators (NumPy's is left out: nothing here draws from it)."""
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_rng_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    random.setstate(states["python"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu())
