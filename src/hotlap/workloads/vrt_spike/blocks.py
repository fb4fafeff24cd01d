"""The blocks of the transformer: attention inside windows, then a gated feed-forward network, each with a residual.

    x --+-- norm -- windows -+- self-attention ----+- linear -- merge --(+)--+-- norm -- GEGLU --(+)--
        |                    +- mutual attention --+                     |   |                    |
        |________________________________________________________________|   |____________________|

Mutual attention is what aligns neighbouring frames: in a window of two frames, each looks at the other only, so that a
token gathers what it finds of itself in the other frame (Liang and others 2022, "VRT: A Video Restoration
Transformer", section 3.2). A frame that has no partner (the first and the last, in every other block) gets zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hotlap.workloads.vrt_spike.windows import Box, Partition, RelativePositionBias, attend, sine_code_2d


class BlockOptions(NamedTuple):
    """What all blocks of a network have in common."""

    heads: int
    #: Hidden features of the feed-forward network, in multiples of its features.
    mlp_ratio: int = 2
    #: Keep only the input of the attention, or of the feed-forward network, and compute it again for the gradient.
    checkpoint_attention: bool = False
    checkpoint_feed_forward: bool = False


class SelfAttention(nn.Module):
    """Every token looks at every token of its window."""

    def __init__(self, channels: int, window: Box, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = RelativePositionBias(window, heads)

    def forward(self, windows: Tensor, partition: Partition) -> Tensor:
        """(B, windows, tokens, C) to the same."""
        query, key, value = _heads(self.qkv(windows), self.heads)
        regions = partition.regions
        allowed = None if regions is None else (regions[:, :, None] == regions[:, None])[:, None]
        out = attend(query, key, value, partition, self.bias(partition.window).to(query.dtype), allowed)
        return out.transpose(2, 3).flatten(3)


class MutualAttention(nn.Module):
    """In windows of two frames, every token looks at the tokens of the other frame.

    There is no relative position in it (one distance in time would always be the same): the place in the window is
    added as sines, which need no parameters.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, windows: Tensor, partition: Partition) -> Tensor:
        """(B, windows, tokens, C) to the same; zeros for a frame without a partner."""
        frames, rows, columns = partition.window
        if frames == 1:
            return torch.zeros_like(windows)
        code = sine_code_2d(rows, columns, windows.shape[-1], windows.device).to(windows.dtype)
        query, key, value = _heads(self.qkv(windows + code.repeat(2, 1)), self.heads)
        # The two directions are attended to as if they were more heads.
        query, key, value = (torch.unflatten(x, 3, (2, -1)).transpose(2, 3) for x in (query, key, value))
        query, key, value = query.flatten(2, 3), key.flip(2).flatten(2, 3), value.flip(2).flatten(2, 3)
        allowed = None
        if partition.regions is not None:
            regions = torch.unflatten(partition.regions, 1, (2, -1))
            allowed = (regions[:, :, :, None] == regions.flip(1)[:, :, None]).repeat_interleave(self.heads, 1)
        out = attend(query, key, value, partition, None, allowed)
        return torch.unflatten(out, 2, (2, self.heads)).transpose(3, 4).flatten(4).flatten(2, 3)


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, windows, tokens, 3C) to three of (B, windows, heads, tokens, C / heads)."""
    query, key, value = torch.unflatten(qkv, -1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)
    return query, key, value


class GatedFeedForward(nn.Module):
    """GELU(a(x)) * b(x), then a linear layer (GEGLU: Shazeer 2020, "GLU Variants Improve Transformer")."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, hidden)
        self.value = nn.Linear(inputs, hidden)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(F.gelu(self.gate(x)) * self.value(x))
        return out


class TmsaBlock(nn.Module):
    """Mutual and self-attention side by side, or with ``mutual`` false the second alone; then feed-forward."""

    def __init__(self, channels: int, window: Box, options: BlockOptions, *, mutual: bool) -> None:
        super().__init__()
        self.options = options
        self.attention_norm = nn.LayerNorm(channels)
        self.self_attention = SelfAttention(channels, window, options.heads)
        self.mutual_attention = MutualAttention(channels, options.heads) if mutual else None
        self.projection = nn.Linear(2 * channels if mutual else channels, channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, options.mlp_ratio * channels, channels)

    def forward(self, x: Tensor, partition: Partition) -> Tensor:
        """(B, T, H, W, C) to the same."""

        def attention(x: Tensor) -> Tensor:
            windows = partition.split(self.attention_norm(x))
            out = self.self_attention(windows, partition)
            if self.mutual_attention is not None:
                out = torch.cat([self.mutual_attention(windows, partition), out], -1)
            return partition.merge(self.projection(out))

        def feed_forward(x: Tensor) -> Tensor:
            out: Tensor = self.feed_forward(self.feed_forward_norm(x))
            return out

        x = x + self._run(attention, x, self.options.checkpoint_attention)
        return x + self._run(feed_forward, x, self.options.checkpoint_feed_forward)

    def _run(self, part: Callable[[Tensor], Tensor], x: Tensor, checkpointed: bool) -> Tensor:
        if checkpointed and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(part, x, use_reentrant=False)
            return out
        return part(x)


class Group(nn.Module):
    """Blocks of one kind, every other one with shifted windows, then a linear layer; with a residual around all."""

    def __init__(self, channels: int, blocks: int, window: Box, options: BlockOptions, *, mutual: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(TmsaBlock(channels, window, options, mutual=mutual) for _ in range(blocks))
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same."""
        frames, rows, columns = x.shape[1:4]
        partitions = [
            Partition((frames, rows, columns), self.window, shifted=shifted, device=x.device)
            for shifted in (False, True)
        ]
        features = x
        for number, block in enumerate(self.blocks):
            features = block(features, partitions[number % 2])
        out: Tensor = x + self.linear(features)
        return out
