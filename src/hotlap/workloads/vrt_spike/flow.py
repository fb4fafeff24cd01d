"""Optical flow: where each pixel of a frame is found in its neighbour, estimated from coarse to fine.

    frames / 32 -- layers -- flow --x2-- frames / 16, second one warped -- layers --(+)-- ... -- flow at full size

Each level sees the first frame, the second one warped by the flow so far, and that flow, and estimates what is
missing. After SpyNet (Ranjan and Black 2017, "Optical Flow Estimation using a Spatial Pyramid Network"), whose
layers it has; not its trained weights: it is trained along with the network that uses it, from a flow of zero.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Fetch every pixel from where the flow points: out[y, x] = picture[y + flow_y, x + flow_x].

    ``picture`` (N, C, H, W); ``flow`` (N, 2, H, W) in pixels, x first. Between pixels it is bilinear; outside of the
    picture the nearest pixel of its edge is taken.
    """
    height, width = picture.shape[-2:]
    # In float32 whatever the precision around: bfloat16 has no half pixels beyond column 256.
    columns = torch.arange(width, device=flow.device) + flow[:, 0].float()
    rows = torch.arange(height, device=flow.device)[:, None] + flow[:, 1].float()
    grid = torch.stack([unit(columns, width), unit(rows, height)], -1)
    # Backward of torch's CPU operator reads beyond the picture where a position is no number, and the process ends
    # without a word. The loss must not be a number then, so that the training can say it.
    lost = grid.isnan().any(-1)[:, None]
    sampled = F.grid_sample(picture.float(), grid.nan_to_num(), padding_mode="border", align_corners=False)
    return sampled.masked_fill(lost, math.nan).to(picture.dtype)


def unit(pixels: Tensor, side: int) -> Tensor:
    """Positions in pixels as ``grid_sample`` wants them with ``align_corners=False`` (with true, side 1 would fail)."""
    return (2 * pixels + 1) / side - 1


class FlowNetwork(nn.Module):
    """Maps two pictures (N, 3, H, W) to a flow (N, 2, H, W) in pixels, so that warp(second, flow) is like first."""

    def __init__(self, levels: int = 6, width: int = 32) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level(width) for _ in range(levels))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        pyramid = [(first, second)]
        for _ in range(len(self.levels) - 1):
            first, second = F.avg_pool2d(first, 2, ceil_mode=True), F.avg_pool2d(second, 2, ceil_mode=True)
            pyramid.append((first, second))
        flow = first.new_zeros(first.shape[0], 2, *first.shape[-2:], dtype=torch.float32)
        for level, (first, second) in zip(self.levels, reversed(pyramid), strict=True):
            flow = _enlarge(flow, first.shape[-2], first.shape[-1])
            flow = flow + level(torch.cat([first, warp(second, flow), flow.to(first.dtype)], 1)).float()
        return flow


def _level(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([8, width, 2 * width, width, width // 2, 2]):
        layers += [nn.Conv2d(inputs, outputs, 7, padding=3), nn.ReLU()]
    last = layers[-2]
    nn.init.zeros_(last.weight)  # type: ignore[arg-type] # a convolution
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers[:-1])


def _enlarge(flow: Tensor, height: int, width: int) -> Tensor:
    old_height, old_width = flow.shape[-2:]
    if (old_height, old_width) == (height, width):
        return flow
    flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
    return flow * flow.new_tensor([width / old_width, height / old_height]).view(1, 2, 1, 1)
