"""VRT: a transformer that restores all frames of a clip at once (Liang and others 2022, "VRT: A Video Restoration
Transformer"), written from its description.

    frames --+-- conv --+-- stage1 ----------------------- (+ stage7) ------- stage8 --(+)-- conv --(+)-- restored
             |          |     |                               |                         |            |
             |          |    1/2 stage2 ------------- (+ stage6)                        |            |
             |          |            |                    |                             |            |
             |          |           1/4 stage3 --- (+ stage5)                           |            |
             |          |                   |          |                                |            |
             |          |                  1/8 stage4 -+                                |            |
             |          |_______________________________________________________________|            |
             |_______________________________________________________________________________________|

The flow network estimates, from the frames, the motion to both neighbours, for stage 1 to 7 at their scales.
The last convolution begins with zeros: the untrained network returns its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.alignment import Kind
from hotlap.workloads.vrt_spike.blocks import BlockOptions
from hotlap.workloads.vrt_spike.flow import FlowNetwork
from hotlap.workloads.vrt_spike.stages import Reconstruction, Scaling, Stage
from hotlap.workloads.vrt_spike.windows import Box

#: Stages of the U, and scales that it goes down: 1, 1/2, 1/4, 1/8.
STAGES, SCALES = 7, 4

#: What a caller does to the features (B, T, H, W, C) after the stage at a scale on the way down, numbered from 0.
AfterStage = Callable[[int, Tensor], Tensor]


class Vrt(nn.Module):
    """Maps (B, T, 3, H, W) to the same. H and W are multiples of 8.

    ``depths`` are the blocks of stage 1 to 7, then of each group of stage 8. So the documents' eight entries give
    stage 8 one group, and the thirteen of the paper six.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        embed_dim: int,
        reconstruction_dim: int,
        window: Box,
        options: BlockOptions,
        alignment: Kind,
        deformable_groups: int,
        independent_groups: int,
        flow_levels: int,
        flow_width: int,
    ) -> None:
        super().__init__()
        _check(depths, embed_dim, reconstruction_dim, options.heads, alignment, deformable_groups, independent_groups)
        self.flow = FlowNetwork(flow_levels, flow_width)
        self.first = nn.Conv2d(3, embed_dim, 3, padding=1)
        for number in range(STAGES):
            stage = Stage(
                embed_dim,
                depths[number],
                window,
                options,
                scaling=_scaling(number),
                alignment=alignment,
                deformable_groups=deformable_groups,
            )
            self.add_module(f"stage{number + 1}", stage)
        self.stage8 = Reconstruction(
            embed_dim,
            reconstruction_dim,
            tuple(depths[STAGES:]),
            window,
            options,
            independent_groups=independent_groups,
        )
        self.last = nn.Conv2d(embed_dim, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, frames: Tensor, after_stage: AfterStage | None = None) -> Tensor:
        flows = self._flows(frames)
        shallow = self.first(frames.flatten(0, 1)).permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])
        x, kept = shallow, []
        for scale in range(SCALES):
            x = self._stage(scale, x, flows[scale])
            if after_stage is not None:
                x = after_stage(scale, x)
            kept.append(x)
        for scale in reversed(range(SCALES - 1)):
            x = self._stage(STAGES - 1 - scale, x, flows[scale]) + kept[scale]
        x = self.stage8(x) + shallow
        correction: Tensor = self.last(x.flatten(0, 1).permute(0, 3, 1, 2)).unflatten(0, frames.shape[:2])
        return frames + correction

    def _stage(self, number: int, x: Tensor, flows: Tensor) -> Tensor:
        out: Tensor = self.get_submodule(f"stage{number + 1}")(x, flows)
        return out

    def _flows(self, frames: Tensor) -> list[Tensor]:
        """Flow (2, B, T - 1, 2, H, W) at each scale: from each frame to the next, and from each to the one before."""
        earlier, later = frames[:, :-1], frames[:, 1:]
        first, second = torch.stack([earlier, later]), torch.stack([later, earlier])
        if first.shape[2] == 0:
            return [frames.new_zeros(0)] * SCALES
        flow = self.flow(first.flatten(0, 2), second.flatten(0, 2))
        scaled = [flow]
        while len(scaled) < SCALES:
            scaled.append(F.avg_pool2d(scaled[-1], 2) / 2)
        return [flow.unflatten(0, first.shape[:3]) for flow in scaled]


def _scaling(number: int) -> Scaling:
    if number == 0:
        return "same"
    return "half" if number < SCALES else "double"


def _check(
    depths: Sequence[int],
    embed_dim: int,
    reconstruction_dim: int,
    heads: int,
    alignment: Kind,
    deformable_groups: int,
    independent_groups: int,
) -> None:
    if len(depths) <= STAGES or min(depths) < 1:
        raise ConfigError(
            f"depths {list(depths)} has to name at least one block for each of the stages 1 to 7, then for each group "
            "of stage 8: give 8 entries (one group) or 13 (six groups)"
        )
    for name, width in (("embed_dim", embed_dim), ("reconstruction_dim", reconstruction_dim)):
        if width % heads or width % 4:
            raise ConfigError(f"{name} {width} has to be a multiple of the {heads} heads and of 4: change one of them")
    if alignment == "dcn" and embed_dim % deformable_groups:
        raise ConfigError(
            f"deformable_groups {deformable_groups} does not divide embed_dim {embed_dim}: change one of them"
        )
    if independent_groups > len(depths) - STAGES:
        raise ConfigError(
            f"independent_groups {independent_groups} is more than the {len(depths) - STAGES} groups that depths gives "
            "stage 8: lower it"
        )
