"""Image restoration: a small residual network removes noise from photographs, or doubles their size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from hotlap.train.config import TrainConfig
from hotlap.workloads.restoration.network import RandomFeatures, RestorationNet
from hotlap.workloads.restoration.pictures import Degradation, Patches, held_out_pairs, load_pictures
from hotlap.workloads.restoration.quality import psnr, ssim


class Restoration:
    """The workload (see ``hotlap.workloads.Workload``).

    Quality is PSNR in dB and SSIM on held-out pictures, against the noisy input (denoise) or bicubic upscaling
    (super_resolution).
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        training, held_out = load_pictures(config.data_dir, config.patch_size)
        degradation = Degradation(config.task, config.noise_sigma)
        self.dataset: Dataset[tuple[Tensor, Tensor]] = Patches(training, degradation, config.patch_size, config.seed)
        scale = 2 if config.task == "super_resolution" else 1
        self.model: nn.Module = RestorationNet(
            config.base_channels, config.num_blocks, scale, config.use_checkpoint
        ).to(device)
        self._features = RandomFeatures().to(device) if config.use_perceptual else None
        self._weight, self._every = config.perceptual_weight, config.perceptual_every
        self._pairs = [(x.to(device), y.to(device)) for x, y in held_out_pairs(held_out, degradation)]
        self.simple_method = "bicubic upscaling" if scale == 2 else "the noisy input"
        self.simple_quality = _quality([(_enlarge(x) if scale == 2 else x, y) for x, y in self._pairs])

    def loss(self, output: Tensor, target: Tensor, step: int) -> Tensor:
        output = output.float()
        loss = F.l1_loss(output, target)
        if self._features is not None and step % self._every == 0:
            loss = loss + self._weight * F.l1_loss(self._features(output), self._features(target))
        return loss

    def validate(self) -> dict[str, float]:
        return _quality([(self.model(x).float(), y) for x, y in self._pairs])


def _enlarge(picture: Tensor) -> Tensor:
    return F.interpolate(picture, scale_factor=2.0, mode="bicubic")


def _quality(pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Mean over the pictures, restored values cut to the range of a picture."""
    clipped = [(restored.clamp(0, 1), target) for restored, target in pairs]
    # Whatever the precision of the training: the variances of SSIM cancel in bfloat16.
    with torch.autocast(pairs[0][0].device.type, enabled=False):
        return {
            "psnr": float(torch.stack([psnr(x, y) for x, y in clipped]).mean()),
            "ssim": float(torch.stack([ssim(x, y) for x, y in clipped]).mean()),
        }
