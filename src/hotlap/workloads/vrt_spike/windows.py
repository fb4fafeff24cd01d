"""Windows over a video: cut into boxes of (frames, rows, columns), attended to in each box alone, put together again.

    (B, T, H, W, C) -- pad -- roll -- split --> (B, windows, tokens, C) -- attention -- merge -- roll -- crop --> same

Every other block rolls the video by half a window first, so that what was at the edge of a window is in the middle of
the next. The roll brings the first frames, rows and columns to the end, beside those that were never their neighbours;
padding stands there too. So each token carries a region, and attention stays inside a region (Liu and others 2021,
"Swin Transformer"). Only the last windows of an axis hold more than one region: the others are attended to without a
mask, because a mask for every window would be larger than the video (2.5 GB for 1024 windows of 320 tokens, 6 heads).
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Frames, rows, columns.
Box = tuple[int, int, int]

_WRAPPED, _PADDING = 1, 2
#: On a GPU, in half precision, attention with a mask is fused only for heads of a multiple of so many features (pytorch
#: issue 110630); the published stage 8 has 20.
_ALIGNED = 8


class Partition:
    """How a video of (T, H, W) is cut into windows.

    Along an axis that is no longer than the window, the window is clipped to it and not shifted.
    """

    def __init__(self, video: Box, window: Box, *, shifted: bool, device: torch.device) -> None:
        self.video = video
        self.window: Box = tuple(map(min, window, video))  # type: ignore[assignment] # three in, three out
        self.shift = tuple(w // 2 if shifted and n > w else 0 for n, w in zip(video, self.window, strict=True))
        self.counts = tuple(math.ceil(n / w) for n, w in zip(video, self.window, strict=True))
        self.padding = tuple(count * w - n for count, w, n in zip(self.counts, self.window, video, strict=True))
        axes = [_regions(*axis) for axis in zip(video, self.window, self.shift, strict=True)]
        mixed = [
            [len(set(axis[i : i + w])) > 1 for i in range(0, len(axis), w)]
            for axis, w in zip(axes, self.window, strict=True)
        ]
        flags = [any(window) for window in itertools.product(*mixed)]
        cut = [i for i, flag in enumerate(flags) if flag]
        whole = [i for i, flag in enumerate(flags) if not flag]
        self.windows = len(flags)
        #: Numbers of the windows that need a mask, of those that do not, and what puts whole + cut in order again.
        order = sorted(range(len(flags)), key=(whole + cut).__getitem__)
        self.cut, self.whole, self.order = (
            torch.tensor(numbers, dtype=torch.long, device=device) for numbers in (cut, whole, order)
        )
        #: (cut windows, tokens).
        self.regions: Tensor | None = None
        if cut:
            frames, rows, columns = (torch.tensor(axis, device=device) for axis in axes)
            regions = 9 * frames[:, None, None] + 3 * rows[:, None] + columns
            self.regions = self._boxes(regions[None, ..., None])[0, self.cut, :, 0]

    def split(self, video: Tensor) -> Tensor:
        """(B, T, H, W, C) to (B, windows, tokens, C)."""
        if any(self.padding):
            video = F.pad(video, (0, 0, 0, self.padding[2], 0, self.padding[1], 0, self.padding[0]))
        if any(self.shift):
            video = video.roll([-s for s in self.shift], dims=(1, 2, 3))
        return self._boxes(video)

    def merge(self, windows: Tensor) -> Tensor:
        """(B, windows, tokens, C) to (B, T, H, W, C)."""
        video = torch.unflatten(torch.unflatten(windows, 2, self.window), 1, self.counts)
        video = video.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(1, 2).flatten(2, 3).flatten(3, 4)
        if any(self.shift):
            video = video.roll(self.shift, dims=(1, 2, 3))
        frames, rows, columns = self.video
        return video[:, :frames, :rows, :columns] if any(self.padding) else video

    def _boxes(self, video: Tensor) -> Tensor:
        for axis in range(3):
            video = torch.unflatten(video, 1 + 2 * axis, (self.counts[axis], self.window[axis]))
        return video.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def _regions(length: int, window: int, shift: int) -> list[int]:
    """Region of every position of a padded and rolled axis."""
    padded = math.ceil(length / window) * window
    stayed = [_PADDING if position >= length else 0 for position in range(shift, padded)]
    return stayed + [_WRAPPED] * shift


def attend(
    query: Tensor, key: Tensor, value: Tensor, partition: Partition, bias: Tensor | None, allowed: Tensor | None
) -> Tensor:
    """Attention inside each window, (B, windows, heads, tokens, features) each.

    ``bias`` (heads, tokens, tokens) is added to the logits of every window; ``allowed`` (cut windows, heads or 1,
    tokens, tokens) is true where a token of a cut window may look. A token that may look nowhere gets zeros.
    """
    if allowed is None:
        return _attend(query, key, value, bias)
    lonely = ~allowed.any(-1, keepdim=True)
    mask = allowed | lonely
    if bias is not None:
        mask = torch.where(mask, bias, -math.inf)
    cut = _attend_in(partition.cut, query, key, value, mask).masked_fill(lonely, 0)
    if len(partition.whole) == 0:
        return cut
    whole = _attend_in(partition.whole, query, key, value, bias)
    return torch.cat([whole, cut], 1).index_select(1, partition.order)


def _attend_in(windows: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    query, key, value = (x.index_select(1, windows) for x in (query, key, value))
    return _attend(query, key, value, mask)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    batch, features = query.shape[0], query.shape[-1]
    if query.is_cuda and query.dtype != torch.float32 and features % _ALIGNED:
        query, key, value = (F.pad(x, (0, -features % _ALIGNED)) for x in (query, key, value))
    if mask is not None and mask.dim() == 4:
        mask = mask.expand(batch, *mask.shape).flatten(0, 1)
    query, key, value = (x.flatten(0, 1) for x in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=features**-0.5)
    return torch.unflatten(out[..., :features], 0, (batch, -1))


class RelativePositionBias(nn.Module):
    """A learned number per head for every distance in (frames, rows, columns) that fits into the window."""

    index: Tensor

    def __init__(self, window: Box, heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.empty(math.prod(2 * w - 1 for w in window), heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        places = torch.cartesian_prod(*(torch.arange(w) for w in window)).view(-1, 3)
        distances = places[:, None] - places + torch.tensor(window) - 1
        strides = torch.tensor([(2 * window[1] - 1) * (2 * window[2] - 1), 2 * window[2] - 1, 1])
        self.register_buffer("index", (distances * strides).sum(-1).view(*window, *window), persistent=False)

    def forward(self, window: Box) -> Tensor:
        """Bias (heads, tokens, tokens) for a window that may be smaller than the one at construction."""
        frames, rows, columns = window
        index = self.index[:frames, :rows, :columns, :frames, :rows, :columns]
        tokens = math.prod(window)
        # Its gradient is an addition by index; that of table[index] sorts the indices first.
        return self.table.index_select(0, index.flatten()).view(tokens, tokens, -1).permute(2, 0, 1)


def sine_code(length: int, channels: int, device: torch.device) -> Tensor:
    """Sines and cosines of the position, (length, channels), channels even (Vaswani and others 2017, section 3.5)."""
    rates = 10000.0 ** (-torch.arange(0, channels, 2, device=device) / channels)
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def sine_code_2d(rows: int, columns: int, channels: int, device: torch.device) -> Tensor:
    """Half of the channels tells the row and half the column, (rows * columns, channels), channels a multiple of 4."""
    row = sine_code(rows, channels // 2, device)[:, None].expand(-1, columns, -1)
    column = sine_code(columns, channels // 2, device).expand(rows, -1, -1)
    return torch.cat([row, column], -1).flatten(0, 1)
