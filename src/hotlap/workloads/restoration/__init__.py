"""Image restoration: a small residual network removes noise from photographs, or enlarges them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.train.config import RestorationConfig
from hotlap.workloads import Batch
from hotlap.workloads.perceptual import PerceptualLoss
from hotlap.workloads.quality import psnr, ssim
from hotlap.workloads.restoration.network import RestorationNet
from hotlap.workloads.restoration.pictures import Degradation, Patches, held_out_pairs, load_pictures


class Restoring:
    """The task (see ``hotlap.workloads.Task``)."""

    weight = None

    def __init__(self, config: RestorationConfig, device: torch.device) -> None:
        sizes = [config.patch_size] if isinstance(config.patch_size, int) else config.patch_size.values()
        self._largest = max(sizes)
        self._scale = config.scale if config.task == "super_resolution" else 1
        self.model: nn.Module = RestorationNet(
            config.base_channels, config.num_blocks, self._scale, config.use_checkpoint
        ).to(device)
        self._perceptual = PerceptualLoss(config.perceptual_backbone).to(device) if config.use_perceptual else None
        self._weight, self._every = config.perceptual_weight, config.perceptual_every

    def inputs(self, batch: Batch) -> Batch:
        return batch[:1]

    def loss(self, output: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        output, target = output.float(), batch[1]
        loss = F.l1_loss(output, target)
        if self._perceptual is None or step % self._every:
            return {"loss": loss}
        perceptual = self._perceptual(output, target)
        return {"loss": loss + self._weight * perceptual, "l1": loss, "perceptual": perceptual}

    def blank(self, samples: int) -> Batch:
        small = self._largest // self._scale
        return torch.empty(samples, 3, small, small), torch.empty(samples, 3, self._largest, self._largest)


class Restoration(Restoring):
    """The workload (see ``hotlap.workloads.Workload``).

    Quality is PSNR in dB and SSIM on held-out pictures, against the noisy input (denoise) or bicubic upscaling
    (super_resolution).
    """

    metric = "psnr"

    def __init__(self, config: RestorationConfig, device: torch.device) -> None:
        sizes = [config.patch_size] if isinstance(config.patch_size, int) else list(config.patch_size.values())
        training, held_out = load_pictures(config.data_dir, max(sizes))
        scale = config.scale if config.task == "super_resolution" else 1
        degradation = Degradation(scale, config.noise_sigma)
        self.dataset = Patches(training, degradation, config.patch_size, config.seed)
        super().__init__(config, device)
        self._pairs = [(x.to(device), y.to(device)) for x, y in held_out_pairs(held_out, degradation)]
        self.simple_method = "bicubic upscaling" if scale > 1 else "the noisy input"
        self.simple_quality = _quality([(_enlarge(x, scale) if scale > 1 else x, y) for x, y in self._pairs])

    def validate(self, model: nn.Module) -> dict[str, float]:
        return _quality([(model(x).float(), y) for x, y in self._pairs])


def _enlarge(picture: Tensor, scale: int) -> Tensor:
    return F.interpolate(picture, scale_factor=float(scale), mode="bicubic")


def _quality(pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Mean over the pictures, restored values cut to the range of a picture."""
    clipped = [(restored.clamp(0, 1), target) for restored, target in pairs]
    # Whatever the precision of the training: the variances of SSIM cancel in bfloat16.
    with torch.autocast(pairs[0][0].device.type, enabled=False):
        return {
            "psnr": float(torch.stack([psnr(x, y) for x, y in clipped]).mean()),
            "ssim": float(torch.stack([ssim(x, y) for x, y in clipped]).mean()),
        }
