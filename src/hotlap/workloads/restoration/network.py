"""The network: convolutions at full width, with a residual connection around everything.

    input --+-- head -- block x num_blocks --(+)-- tail (-- pixel shuffle) --(+)-- output
            |      |__________________________|                               |
            |_______________(enlarged with bicubic for super-resolution)______|

After EDSR (Lim and others 2017), without its batch-free scaling, which small networks do not need.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)))
        return x + out


class RestorationNet(nn.Module):
    """Maps (N, 3, H, W) to (N, 3, scale * H, scale * W), scale 1, 2 or 4. It begins as the simple method, exactly."""

    def __init__(self, base_channels: int, num_blocks: int, scale: int = 1, use_checkpoint: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.use_checkpoint = use_checkpoint
        self.head = _conv(3, base_channels)
        self.blocks = nn.ModuleList(ResidualBlock(base_channels) for _ in range(num_blocks))
        self.tail = _conv(base_channels, 3 * scale**2)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        features = head = self.head(x)
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                features = checkpoint(block, features, use_reentrant=False)
            else:
                features = block(features)
        correction: Tensor = self.tail(features + head)
        if self.scale == 1:
            return x + correction
        enlarged = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic")
        return enlarged + F.pixel_shuffle(correction, self.scale)
