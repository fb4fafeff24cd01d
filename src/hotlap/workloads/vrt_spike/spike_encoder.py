"""The spikes, encoded: what a spike camera saw during each frame becomes features at the four scales of the U.

    voxels (B, T, K, H, W) -- conv, bins / 2 --+-- conv, all / 2 --+-- conv, all / 2 --+-- conv, all / 2 --+
                                               |                   |                   |                   |
                                             fold                fold                fold                fold
                                               1                  1/2                 1/4                 1/8

Each frame is a volume of (bins, rows, columns), so the convolutions see when a spike fell within the exposure, which
is what the blurred frame has lost. Where bins are halved, channels are doubled; folding puts the bins that are left
into the channels.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from hotlap.workloads.vrt_spike.vrt import SCALES


class SpikeEncoder(nn.Module):
    """Maps (B, T, K, H, W) to four of (B, T, H, W, embed_dim), at the scales 1, 1/2, 1/4, 1/8."""

    def __init__(self, *, bins: int, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.levels, self.folds = nn.ModuleList(), nn.ModuleList()
        inputs = 1
        for scale in range(SCALES):
            spatial = 1 if scale == 0 else 2
            self.levels.append(
                nn.Sequential(
                    nn.Conv3d(inputs, channels, 3, stride=(2, spatial, spatial), padding=1),
                    nn.LeakyReLU(0.1),
                    nn.Conv3d(channels, channels, 3, padding=1),
                    nn.LeakyReLU(0.1),
                )
            )
            bins = math.ceil(bins / 2)
            self.folds.append(nn.Sequential(nn.Linear(channels * bins, embed_dim), nn.LayerNorm(embed_dim)))
            inputs, channels = channels, 2 * channels

    def forward(self, spikes: Tensor) -> list[Tensor]:
        x = spikes.flatten(0, 1)[:, None]
        out = []
        for level, fold in zip(self.levels, self.folds, strict=True):
            x = level(x)
            features = fold(x.permute(0, 3, 4, 1, 2).flatten(3))
            out.append(features.unflatten(0, spikes.shape[:2]))
        return out
