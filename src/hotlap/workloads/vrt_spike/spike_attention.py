"""Attention along time, at each pixel by itself: among the spikes, and from the picture to the spikes.

    spikes (B, T, H, W, C) -- norm -- Q, K, V from spikes -- attention over T --(+)--          SPIKE_TSA
    picture -- norm -- Q;  spikes -- norm -- K, V -- attention over T --(+ picture)--          FUSE

The time of each frame is added as sines, or the attention could not tell the frames apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.workloads.vrt_spike.chunks import Chunking, in_chunks
from hotlap.workloads.vrt_spike.windows import sine_code


class TemporalAttention(nn.Module):
    """Every frame of ``x`` looks at all frames of ``source`` at the same pixel. For self-attention give one twice."""

    #: In how many pieces the last forward pass was computed.
    chunks = 0

    def __init__(self, channels: int, heads: int, chunking: Chunking) -> None:
        super().__init__()
        self.heads, self.chunking = heads, chunking
        self.query_norm, self.source_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """(B, T, H, W, C) twice to the same."""
        out, self.chunks = in_chunks(self._attend, x, source, self.chunking)
        return out

    def _attend(self, x: Tensor, source: Tensor) -> Tensor:
        batch, frames, height, width, channels = x.shape
        time = sine_code(frames, channels, x.device).to(x.dtype)[:, None, None]
        query = self._heads(self.query(self.query_norm(x) + time))
        key, value = self.key_value(self.source_norm(source) + time).chunk(2, -1)
        found = F.scaled_dot_product_attention(query, self._heads(key), self._heads(value))
        found = found.transpose(1, 2).reshape(batch, height, width, frames, channels).permute(0, 3, 1, 2, 4)
        out: Tensor = self.projection(found)
        return x + out

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, h, w, C) to (pixels, heads, T, C / heads)."""
        return torch.unflatten(x, -1, (self.heads, -1)).permute(0, 2, 3, 4, 1, 5).flatten(0, 2)
