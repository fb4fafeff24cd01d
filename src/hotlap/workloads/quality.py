"""PSNR and SSIM of pictures of shape (..., C, H, W) with values from 0 to 1: one value for each picture, shape (...).

Those that end in ``_y`` look at the luminance of RGB alone, as papers on restoration do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(picture: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the channels and pixels of a picture; infinite for equal pictures."""
    return -10 * torch.log10((picture - target).square().mean((-3, -2, -1)))


def ssim(picture: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, mean over pixels and channels.

    Wang, Bovik, Sheikh and Simoncelli 2004: Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population
    covariance, only positions where the whole window lies inside the picture.
    """
    leading, channels = picture.shape[:-3], picture.shape[-3]
    picture, target = (x.reshape(-1, *x.shape[-3:]) for x in (picture, target))
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
    return (luminance * structure).mean((-3, -2, -1)).reshape(leading)


def psnr_y(picture: Tensor, target: Tensor) -> Tensor:
    """PSNR of the luminance of RGB in dB, with the peak at 255 although luminance ends at 235, as the field does."""
    return psnr(luma(picture), luma(target))


def ssim_y(picture: Tensor, target: Tensor) -> Tensor:
    """SSIM of the luminance of RGB."""
    return ssim(luma(picture), luma(target))


def luma(picture: Tensor) -> Tensor:
    """Luminance by ITU-R BT.601 of (..., 3, H, W) in 0..1: (..., 1, H, W), from 16/255 (black) to 235/255 (white).

    Y = 16 + 65.481 R + 128.553 G + 24.966 B, divided by 255: 219 x (0.299 R + 0.587 G + 0.114 B) + 16. It is not
    rounded to whole numbers.
    """
    weights = picture.new_tensor([65.481, 128.553, 24.966]) / 255
    return (picture * weights[:, None, None]).sum(-3, keepdim=True) + 16 / 255
