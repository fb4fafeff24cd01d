"""Distillation: what a trained, deeper network makes of a clip is a second target for the one that is trained.

The frames that the teacher restores, and the features after each of the seven stages of the U, of the same width in
both. The teacher reads its configuration from the config.json beside its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.train.config import VrtSpikeConfig
from hotlap.workloads import Batch
from hotlap.workloads.vrt_spike.network import VrtSpike
from hotlap.workloads.vrt_spike.vrt import STAGES

#: Makes the network of a configuration.
Build = Callable[[VrtSpikeConfig], VrtSpike]


class Teacher:
    """Raises ``ConfigError`` where the checkpoint cannot teach this network."""

    def __init__(
        self, checkpoint: Path, config: VrtSpikeConfig, student: nn.Module, device: torch.device, build: Build
    ) -> None:
        if checkpoint.absolute().parent == Path(config.output_dir).absolute():
            raise ConfigError(
                f"{config.path('teacher')} is {checkpoint}, which this training would write over: set "
                f"{config.path('output_dir')} to another folder"
            )
        said = _configuration(checkpoint, config)
        self._network = build(said).to(device)
        try:
            self._network.load_state_dict(_weights(checkpoint, config))
        except RuntimeError:
            raise ConfigError(
                f"{config.path('teacher')} is {checkpoint}, which the config.json beside it does not describe: give a "
                "checkpoint.pt with the config.json that it was trained with"
            ) from None
        self._network.requires_grad_(False).eval()
        self._output_weight, self._feature_weight = config.distill_output, config.distill_features
        self._autocast = torch.autocast(
            device.type, dtype=getattr(torch, config.mixed_precision_dtype), enabled=config.use_mixed_precision
        )
        self._student: dict[int, Tensor] = {}
        self._teacher: dict[int, Tensor] = {}
        if self._feature_weight:
            _watch(student, self._student)
            _watch(self._network, self._teacher)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Weighted mean absolute difference to the teacher's frames, and to its features in units of their size."""
        with torch.no_grad(), self._autocast:
            wanted = self._network(*batch[:2])
        loss = self._output_weight * F.l1_loss(output, wanted.float())
        if self._feature_weight:
            apart = [
                F.l1_loss(self._student[number].float(), self._teacher[number].float())
                / self._teacher[number].float().abs().mean().clamp_min(1e-6)
                for number in range(STAGES)
            ]
            loss = loss + self._feature_weight * torch.stack(apart).mean()
            self._student.clear()
            self._teacher.clear()
        return loss


def _watch(network: nn.Module, features: dict[int, Tensor]) -> None:
    def keep(number: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            features[number] = output

        return hook

    for number in range(STAGES):
        network.get_submodule(f"vrt.stage{number + 1}").register_forward_hook(keep(number))


def _configuration(checkpoint: Path, student: VrtSpikeConfig) -> VrtSpikeConfig:
    path, key = checkpoint.with_name("config.json"), student.path("teacher")
    try:
        if not checkpoint.is_file():
            raise ConfigError(f"{key} is {checkpoint}, which is not there: train the teacher first")
        teacher = msgspec.json.decode(path.read_bytes(), type=VrtSpikeConfig)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{key} is {checkpoint}, but {path} is no configuration of a VRT-Spike training ({error}): give the "
            "checkpoint.pt in its output_dir"
        ) from None
    for name in ("voxel_bins", "log1p", "embed_dims", "use_spikes"):
        if getattr(teacher, name) != getattr(student, name):
            raise ConfigError(
                f"{key} is {checkpoint}, whose {student.path(name)} is {getattr(teacher, name)}, and here it is "
                f"{getattr(student, name)}: teacher and student must have the same"
            )
    return teacher


def _weights(checkpoint: Path, config: VrtSpikeConfig) -> dict[str, Tensor]:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = content["model"]
        if "average" in content:  # what was validated
            mean = content["average"]
            weights = {name.removeprefix("module."): each for name, each in mean.items() if name.startswith("module.")}
    except Exception as error:  # whatever a file that is none does to its reader
        raise ConfigError(
            f"{config.path('teacher')} is {checkpoint}, which cannot be read as a checkpoint "
            f"({str(error).splitlines()[0]}): give the checkpoint.pt of a VRT-Spike training"
        ) from None
    return weights
