"""VRT-Spike: VRT, told by a spike camera what moved while the frames were exposed.

rgb ----- Vrt: stage1 -- fuse -- stage2 -- fuse -- stage3 -- fuse -- stage4 -- fuse -- stage5 ... stage8 -- restored
                          |                 |                 |                 |
spikes -- encoder -+- attention -+-     attention         attention         attention
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.alignment import Kind
from hotlap.workloads.vrt_spike.blocks import BlockOptions
from hotlap.workloads.vrt_spike.chunks import Chunking
from hotlap.workloads.vrt_spike.spike_attention import TemporalAttention
from hotlap.workloads.vrt_spike.spike_encoder import SpikeEncoder
from hotlap.workloads.vrt_spike.vrt import SCALES, Vrt
from hotlap.workloads.vrt_spike.windows import Box

#: The U goes down to 1/8.
_MULTIPLE = 2 ** (SCALES - 1)
_CHUNKING = Chunking()


class VrtSpike(nn.Module):
    """Maps frames (B, T, 3, H, W) and voxels (B, T, bins, H, W) of any H and W to restored frames (B, T, 3, H, W).

    With ``bins`` None there is no spike branch: the same network on frames alone, to measure what the spikes are worth.
    It may be given voxels, and does not look at them.

    ``depths`` as ``Vrt`` takes them; ``window`` in frames, rows, columns; ``independent_groups`` of stage 8 finish each
    frame by itself; ``deformable_groups`` is of the alignment ``dcn`` alone; ``flow_width`` and ``spike_channels`` are
    the channels of the first layers of the flow network and of the spike encoder. Sizes that do not go together are a
    ``ConfigError``.
    """

    def __init__(
        self,
        *,
        bins: int | None,
        depths: Sequence[int],
        embed_dim: int = 96,
        reconstruction_dim: int = 120,
        heads: int = 6,
        window: Box = (6, 8, 8),
        mlp_ratio: int = 2,
        alignment: Kind = "dcn",
        deformable_groups: int = 8,
        independent_groups: int = 0,
        flow_levels: int = 6,
        flow_width: int = 32,
        checkpoint_attention: bool = False,
        checkpoint_feed_forward: bool = False,
        spike_channels: int = 16,
        spike_heads: int = 4,
        spike_chunking: Chunking = _CHUNKING,
        fuse_heads: int = 4,
        fuse_chunking: Chunking = _CHUNKING,
    ) -> None:
        super().__init__()
        self.vrt = Vrt(
            depths=depths,
            embed_dim=embed_dim,
            reconstruction_dim=reconstruction_dim,
            window=window,
            options=BlockOptions(heads, mlp_ratio, checkpoint_attention, checkpoint_feed_forward),
            alignment=alignment,
            deformable_groups=deformable_groups,
            independent_groups=independent_groups,
            flow_levels=flow_levels,
            flow_width=flow_width,
        )
        self.spike_encoder: SpikeEncoder | None = None
        if bins is None:
            return
        for name, count in (("spike_heads", spike_heads), ("fuse_heads", fuse_heads)):
            if embed_dim % count:
                raise ConfigError(f"{name} {count} does not divide embed_dim {embed_dim}: change one of them")
        self.spike_encoder = SpikeEncoder(bins=bins, channels=spike_channels, embed_dim=embed_dim)
        self.spike_attention = nn.ModuleList(
            TemporalAttention(embed_dim, spike_heads, spike_chunking) for _ in range(SCALES)
        )
        self.fuse = nn.ModuleList(TemporalAttention(embed_dim, fuse_heads, fuse_chunking) for _ in range(SCALES))

    def forward(self, rgb: Tensor, spikes: Tensor | None = None) -> Tensor:
        height, width = rgb.shape[-2:]
        restored: Tensor
        if self.spike_encoder is None:
            restored = self.vrt(_pad(rgb))
        else:
            if spikes is None:
                raise ValueError("this network has a spike branch: give it the voxels too")
            encoded = self.spike_encoder(_pad(spikes))

            def fuse(scale: int, picture: Tensor) -> Tensor:
                seen = self.spike_attention[scale](encoded[scale], encoded[scale])
                out: Tensor = self.fuse[scale](picture, seen)
                return out

            restored = self.vrt(_pad(rgb), fuse)
        return restored[..., :height, :width]

    def chunks(self) -> dict[str, int]:
        """In how many pieces each attention along time was computed last, by its name in the network."""
        return {name: each.chunks for name, each in self.named_modules() if isinstance(each, TemporalAttention)}


def published_deblurring() -> VrtSpike:
    """VRT as published for deblurring (Liang and others 2022, section 4.1), without spikes: 18 313 023 parameters.

    The paper says 18.3 M. It is reached with 8 groups of channels in the deformable convolutions; with 16, which
    divide the channels too, the same network has 19.6 M. That all parts are counted as the paper does is seen from
    its other network, for six frames of super-resolution (widths 120 and 180, 12 groups): 30.3 M here, and 0.4 M of
    upsampling that deblurring has not, against 30.7 M.
    """
    return VrtSpike(bins=None, depths=(8,) * 7 + (4,) * 6, independent_groups=2)


def _pad(video: Tensor) -> Tensor:
    """Fill (B, T, C, H, W) up to multiples of 8, mirrored where the picture is large enough for that."""
    height, width = video.shape[-2:]
    below, right = -height % _MULTIPLE, -width % _MULTIPLE
    if not below and not right:
        return video
    mode = "reflect" if below < height and right < width else "replicate"
    padded = F.pad(video.flatten(0, 1), (0, right, 0, below), mode=mode)
    return torch.unflatten(padded, 0, video.shape[:2])
