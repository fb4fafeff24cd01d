"""PSNR and SSIM of pictures of shape (N, C, H, W) with values from 0 to 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(picture: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the whole batch; infinite for equal pictures."""
    return -10 * torch.log10(F.mse_loss(picture, target))


def ssim(picture: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, mean over pixels, channels and pictures.

    Wang, Bovik, Sheikh and Simoncelli 2004: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population
    covariance, only positions where the whole window lies inside the picture.
    """
    channels = picture.shape[1]
    offsets = torch.arange(-5, 6, dtype=picture.dtype, device=picture.device)
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (window / window.sum()).expand(channels, 1, -1)

    def blur(x: Tensor) -> Tensor:
        rows = F.conv2d(x, window[..., None], groups=channels)
        return F.conv2d(rows, window[:, :, None], groups=channels)

    mean_x, mean_y = blur(picture), blur(target)
    variance_x = blur(picture * picture) - mean_x**2
    variance_y = blur(target * target) - mean_y**2
    covariance = blur(picture * target) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean()
