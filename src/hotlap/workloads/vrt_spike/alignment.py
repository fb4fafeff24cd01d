"""Alignment: bring the features of a neighbouring frame to where a frame needs them, by the flow between the two.

``warp`` moves them by the flow alone, and a convolution mends what that did. ``dcn`` looks around where the flow
points: it estimates, for each of the nine taps of a convolution, in each group of channels, an offset from there and a
weight (modulated deformable convolution: Zhu and others 2019, "Deformable ConvNets v2"; guided by flow: Chan and others
2022, "BasicVSR++", section 3.2).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.workloads.vrt_spike.flow import unit, warp

Kind = Literal["warp", "dcn"]

_TAPS = 9
#: A tap goes no further from where the flow points than so many pixels.
_FURTHEST = 10.0


def deformable_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution whose taps are moved and weighted, at every pixel and for every group of channels.

    ``x`` (N, C, H, W); ``offset`` (N, 2 * groups * taps, H, W) in pixels, y before x; ``mask``
    (N, groups * taps, H, W); ``weight`` (outputs, C, k, k), k odd; stride 1, padded with zeros to the same size. It is
    what ``torchvision.ops.deform_conv2d`` computes with ``padding=k // 2``.
    """
    batch, channels, height, width = x.shape
    outputs, _, side, _ = weight.shape
    taps = side**2
    groups = mask.shape[1] // taps
    places = offset.float().reshape(batch * groups, taps, 2, height, width)
    reach = torch.arange(side, device=x.device) - side // 2
    tap_y, tap_x = reach.repeat_interleave(side).view(taps, 1, 1), reach.repeat(side).view(taps, 1, 1)
    rows = places[:, :, 0] + tap_y + torch.arange(height, device=x.device)[:, None]
    columns = places[:, :, 1] + tap_x + torch.arange(width, device=x.device)
    grid = torch.stack([unit(columns, width), unit(rows, height)], -1).flatten(1, 2)
    parts = x.float().reshape(batch * groups, channels // groups, height, width)
    sampled = F.grid_sample(parts, grid, padding_mode="zeros", align_corners=False).to(x.dtype)
    sampled = sampled.view(batch, groups, channels // groups, taps, height * width)
    columns_of_x = (sampled * mask.reshape(batch, groups, 1, taps, height * width)).view(batch, channels * taps, -1)
    out = weight.view(outputs, -1) @ columns_of_x + bias[:, None]
    return out.view(batch, outputs, height, width)


class WarpAlignment(nn.Module):
    """See ``warp`` in the module's description."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mend = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, neighbour: Tensor, frame: Tensor, flow: Tensor) -> Tensor:
        """Features of the neighbour (N, C, H, W) where ``frame`` needs them; flow (N, 2, H, W) from frame to it."""
        out: Tensor = self.mend(warp(neighbour, flow))
        return out


class DeformableAlignment(nn.Module):
    """See ``dcn`` in the module's description. It begins with no offset from the flow, and every weight one half."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        outputs = 3 * _TAPS * groups
        self.estimate = nn.Sequential(
            nn.Conv2d(2 * channels + 2, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.offsets = nn.Conv2d(channels, outputs, 3, padding=1)
        nn.init.zeros_(self.offsets.weight)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.bias)
        # Only its parameters are used, so that it begins as any convolution does.
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, neighbour: Tensor, frame: Tensor, flow: Tensor) -> Tensor:
        """Features of the neighbour (N, C, H, W) where ``frame`` needs them; flow (N, 2, H, W) from frame to it."""
        seen = torch.cat([warp(neighbour, flow), frame, flow.to(frame.dtype)], 1)
        offset, mask = self.offsets(self.estimate(seen)).split([2 * _TAPS * self.groups, _TAPS * self.groups], 1)
        offset = _FURTHEST * offset.float().tanh() + flow.flip(1).repeat(1, _TAPS * self.groups, 1, 1)
        assert self.conv.bias is not None
        return deformable_conv2d(neighbour, offset, mask.sigmoid(), self.conv.weight, self.conv.bias)


def make_alignment(kind: Kind, channels: int, groups: int) -> nn.Module:
    """``groups`` is of ``dcn`` alone."""
    return WarpAlignment(channels) if kind == "warp" else DeformableAlignment(channels, groups)
