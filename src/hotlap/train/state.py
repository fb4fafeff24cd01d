"""Checkpoints: everything that the rest of a training depends on, in one file that is there whole or not at all."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from hotlap.errors import ConfigError, RunError

SCHEMA = 1


class TrainingState:
    """The objects that a checkpoint holds, apart from the step and the position in the data."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: LambdaLR, scaler: torch.amp.GradScaler
    ) -> None:
        self._parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}

    def save(self, path: Path, step: int, consumed: int) -> None:
        """Write the state after ``step`` optimizer steps and ``consumed`` micro-batches."""
        content = {name: part.state_dict() for name, part in self._parts.items()}
        content |= {"schema": SCHEMA, "step": step, "consumed": consumed, "rng": _rng_states()}
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
                f"cannot write the checkpoint {path} ({error.strerror}): free some space or change output_dir"
            ) from None

    def load(self, path: Path, device: torch.device) -> tuple[int, int]:
        """Restore everything; return the step and the consumed micro-batches."""
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            schema = content["schema"]
        except OSError as error:
            raise ConfigError(
                f"resume: {path} cannot be read ({error.strerror}): give a checkpoint.pt of this training, "
                "or null to begin anew"
            ) from None
        except Exception:
            raise ConfigError(
                f"resume: {path} is not a checkpoint of this trainer: give a checkpoint.pt from its output_dir, or null"
            ) from None
        if schema > SCHEMA:
            raise ConfigError(
                f"resume: {path} has schema {schema}, written by a newer hotlap than this one: upgrade hotlap"
            )
        try:
            for name, part in self._parts.items():
                part.load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"resume: {path} is of another network or optimizer ({str(error).splitlines()[0]}): "
                "use the configuration that it was made with, or set resume to null"
            ) from None
        _restore_rng_states(content["rng"])
        return content["step"], content["consumed"]


def _rng_states() -> dict[str, Any]:
    """States of the global generators (NumPy's is left out: nothing here draws from it)."""
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_rng_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    random.setstate(states["python"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
