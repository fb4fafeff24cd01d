"""The stages of the network: seven of the U, each at its scale, and the eighth, which reconstructs.

    stage 1 to 7:  change of scale -- mutual group -- self group --+-- align neighbours -- fuse --
                                                                    |______________________|
    stage 8:       width -- self groups -- width

At the end of each of the seven (parallel warping: Liang and others 2022, "VRT", section 3.3), the features of the frame
before and the frame after are brought to every frame at once and fused with its own by a gated feed-forward network.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.workloads.vrt_spike.alignment import Kind, make_alignment
from hotlap.workloads.vrt_spike.blocks import BlockOptions, GatedFeedForward, Group
from hotlap.workloads.vrt_spike.windows import Box

Scaling = Literal["same", "half", "double"]

#: Frames of a window of mutual attention: a frame and its neighbour.
_PAIR = 2


class Rescale(nn.Module):
    """Change the scale by moving 2 x 2 pixels into the channels, or back, then normalise and mix the channels."""

    def __init__(self, channels: int, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling
        inputs = {"same": channels, "half": 4 * channels, "double": channels // 4}[scaling]
        self.norm = nn.LayerNorm(inputs)
        self.linear = nn.Linear(inputs, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same, with H and W halved or doubled."""
        if self.scaling == "half":
            x = torch.unflatten(torch.unflatten(x, 3, (-1, 2)), 2, (-1, 2)).permute(0, 1, 2, 4, 6, 3, 5).flatten(4)
        elif self.scaling == "double":
            x = torch.unflatten(x, -1, (-1, 2, 2)).permute(0, 1, 2, 5, 3, 6, 4).flatten(2, 3).flatten(3, 4)
        out: Tensor = self.linear(self.norm(x))
        return out


class Stage(nn.Module):
    """One of the seven. Three quarters of its blocks have mutual attention, the others self-attention alone."""

    def __init__(
        self,
        channels: int,
        blocks: int,
        window: Box,
        options: BlockOptions,
        *,
        scaling: Scaling,
        alignment: Kind,
        deformable_groups: int,
    ) -> None:
        super().__init__()
        self.rescale = Rescale(channels, scaling)
        mutual = 3 * blocks // 4
        pair = (_PAIR, *window[1:])
        self.groups = nn.Sequential()
        if mutual:
            self.groups.append(Group(channels, mutual, pair, options, mutual=True))
        if blocks > mutual:
            self.groups.append(Group(channels, blocks - mutual, window, options, mutual=False))
        self.alignment = make_alignment(alignment, channels, deformable_groups)
        self.fuse = GatedFeedForward(3 * channels, 3 * channels, channels)

    def forward(self, x: Tensor, flows: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same, with H and W halved or doubled; ``flows`` are those of ``Vrt`` at this scale."""
        x = self.groups(self.rescale(x))
        out: Tensor = self.fuse(torch.cat([x, *self._neighbours(x, flows)], -1))
        return out

    def _neighbours(self, x: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
        """The frame after and the frame before, aligned to each frame; zeros where the clip ends."""
        if x.shape[1] == 1:
            return torch.zeros_like(x), torch.zeros_like(x)
        pictures = x.permute(0, 1, 4, 2, 3)
        earlier, later = pictures[:, :-1], pictures[:, 1:]
        # All frames, in both directions, in one call.
        neighbours = torch.stack([later, earlier])
        frames = torch.stack([earlier, later])
        aligned = self.alignment(neighbours.flatten(0, 2), frames.flatten(0, 2), flows.flatten(0, 2))
        after, before = aligned.permute(0, 2, 3, 1).unflatten(0, neighbours.shape[:3]).unbind(0)
        return _pad_frames(after, 0, 1), _pad_frames(before, 1, 0)


def _pad_frames(x: Tensor, before: int, after: int) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, 0, before, after))


class Reconstruction(nn.Module):
    """Stage 8: self-attention at full resolution, with a width of its own.

    In the last ``independent_groups`` a window holds one frame, so that each frame is finished by itself.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        groups: tuple[int, ...],
        window: Box,
        options: BlockOptions,
        *,
        independent_groups: int,
    ) -> None:
        super().__init__()
        self.widen = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        together = len(groups) - independent_groups
        self.groups = nn.Sequential(
            *(
                Group(width, blocks, window if number < together else (1, *window[1:]), options, mutual=False)
                for number, blocks in enumerate(groups)
            )
        )
        self.narrow = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same."""
        out: Tensor = self.narrow(self.groups(self.widen(x)))
        return out
