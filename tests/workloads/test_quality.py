from __future__ import annotations

import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.metrics
import torch
from torch import Tensor

from hotlap.workloads.quality import luma, psnr, psnr_y, ssim, ssim_y


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Two noisy photographs (2, 3, 96, 80), and the clean ones."""
    photograph = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1).float() / 255
    clean = torch.stack([photograph[:, :96, :80], photograph[:, 200:296, 200:280]])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + noise * torch.tensor([0.05, 0.15])[:, None, None, None]).clamp(0, 1), clean


def structural_similarity(picture: Tensor, target: Tensor) -> float:
    found = skimage.metrics.structural_similarity(
        target.numpy().astype("float64"),
        picture.numpy().astype("float64"),
        data_range=1.0,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(found)


def test_psnr_is_that_of_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    """One value for each picture."""
    expected = [
        skimage.metrics.peak_signal_noise_ratio(clean.numpy(), noisy.numpy(), data_range=1.0)
        for noisy, clean in zip(*pair, strict=True)
    ]
    assert psnr(*pair).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_is_that_of_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    """One value for each picture; 1 for equal ones."""
    expected = [structural_similarity(noisy, clean) for noisy, clean in zip(*pair, strict=True)]
    assert ssim(*pair).tolist() == pytest.approx(expected, abs=1e-4)
    assert ssim(pair[1], pair[1]).tolist() == pytest.approx([1.0, 1.0])


def test_luminance_is_that_of_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    """ITU-R BT.601: black is 16, white 235."""
    expected = skimage.color.rgb2ycbcr(pair[1][0].permute(1, 2, 0).double().numpy())[..., 0] / 255
    np.testing.assert_allclose(luma(pair[1])[0, 0].numpy(), expected, atol=1e-6)
    ends = luma(torch.stack([torch.zeros(3, 1, 1), torch.ones(3, 1, 1)])).flatten() * 255
    assert ends.tolist() == pytest.approx([16, 235], abs=1e-3)


def test_quality_of_the_luminance_is_that_of_its_picture(pair: tuple[Tensor, Tensor]) -> None:
    """PSNR_Y and SSIM_Y take the luminance as a picture of one channel."""
    noisy, clean = luma(pair[0])[1], luma(pair[1])[1]
    expected = skimage.metrics.peak_signal_noise_ratio(clean.numpy(), noisy.numpy(), data_range=1.0)
    assert float(psnr_y(*pair)[1]) == pytest.approx(expected, abs=1e-4)
    assert float(ssim_y(*pair)[1]) == pytest.approx(structural_similarity(noisy, clean), abs=1e-4)


@pytest.mark.parametrize("measure", [psnr, ssim, psnr_y, ssim_y])
def test_frames_of_clips_are_measured_one_by_one(measure: object, pair: tuple[Tensor, Tensor]) -> None:
    """(B, T, C, H, W) gives (B, T), (C, H, W) one value, and each is what the picture has alone."""
    assert callable(measure)
    noisy, clean = (part[None] for part in pair)
    together = measure(noisy, clean)
    assert together.shape == (1, 2)
    for index in range(2):
        alone = measure(noisy[0, index], clean[0, index])
        assert alone.shape == ()
        assert float(together[0, index]) == pytest.approx(float(alone), abs=1e-5)
