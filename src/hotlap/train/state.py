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
    #: The best validation so far, and how many came after it.
    best: float | None = None
    since_best: int = 0

    def validated(self, value: float) -> bool:
        """Note a validation; whether it is the best."""
        better = not math.isnan(value) and (self.best is None or value > self.best)
        self.best, self.since_best = (value, 0) if better else (self.best, self.since_best + 1)
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
        try:
            for name, part in self._parts.items():
                part.load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{key}: {path} is of another network or optimizer ({str(error).splitlines()[0]}): "
                "use the configuration that it was made with, or set it to null"
            ) from None
        _restore_rng_states(content["rng"][self._ranks.rank])
        return msgspec.convert(content["progress"], Progress)


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
