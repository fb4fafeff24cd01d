"""Spatial chunks: attention along time at each pixel does not mix pixels, so it may be computed piece by piece.

    +----+----+--+     "square": CHUNK_SIZE x CHUNK_SIZE pixels     +------------+     "row": whole rows, together about
    |    |    |  |                                                  |            |     CHUNK_SIZE**2 pixels
    +----+----+--+                                                  +------------+
    |    |    |  |                                                  |            |
    +----+----+--+                                                  +------------+

A chunk is limited twice. ``size`` bounds its side, whatever the batch. ``max_batch_tokens`` bounds batch x frames x
pixels, and only when ``adaptive``: the side is halved until it holds. At batch 1 the size is the tighter of the two
(5 frames x 64 x 64 pixels are 20 480 tokens), so that a larger ``max_batch_tokens`` changes nothing there: raise
``size`` with it.

While training, autograd keeps what each chunk computed: chunks bound what exists for a moment, not what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Chunking(NamedTuple):
    """Where to cut; the names of the documents are CHUNK_SIZE, CHUNK_SHAPE, ADAPTIVE_CHUNK and MAX_BATCH_TOKENS."""

    #: Most pixels along the side of a chunk; None or 0 takes the whole picture.
    size: int | None = 64
    shape: Literal["square", "row"] = "square"
    adaptive: bool = True
    max_batch_tokens: int = 32768

    def chunk(self, batch: int, frames: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a chunk (those at the end of the picture may be smaller)."""
        side = self.size or max(height, width)
        while self.adaptive and side > 1:
            rows, columns = self._clip(side, height, width)
            if batch * frames * rows * columns <= self.max_batch_tokens:
                break
            side //= 2
        return self._clip(side, height, width)

    def _clip(self, side: int, height: int, width: int) -> tuple[int, int]:
        if self.shape == "square":
            return min(side, height), min(side, width)
        return min(max(side**2 // width, 1), height), width


def in_chunks(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, other: Tensor, chunking: Chunking
) -> tuple[Tensor, int]:
    """Apply the function to chunks of two videos (B, T, H, W, any); give its output, put together, and their number."""
    batch, frames, height, width = x.shape[:4]
    rows, columns = chunking.chunk(batch, frames, height, width)
    bands, count = [], 0
    for band in _slices(height, rows):
        parts = [function(x[:, :, band, part], other[:, :, band, part]) for part in _slices(width, columns)]
        count += len(parts)
        bands.append(torch.cat(parts, 3))
    return torch.cat(bands, 2), count


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, length, step))
