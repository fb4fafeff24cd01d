"""Attention along time in spatial chunks."""

from __future__ import annotations

import pytest
import torch

from hotlap.workloads.vrt_spike.chunks import Chunking
from hotlap.workloads.vrt_spike.spike_attention import TemporalAttention

WHOLE = Chunking(size=None, adaptive=False)


def attention(chunking: Chunking) -> TemporalAttention:
    torch.manual_seed(0)
    return TemporalAttention(8, heads=2, chunking=chunking)


def count(chunking: Chunking, batch: int, frames: int = 3, height: int = 32, width: int = 32) -> int:
    """Chunks that an attention was really computed in."""
    module = attention(chunking)
    x = torch.rand(batch, frames, height, width, 8)
    with torch.no_grad():
        module(x, x)
    return module.chunks


@pytest.mark.parametrize(
    "chunking",
    [
        Chunking(size=4),
        Chunking(size=5, shape="row"),
        Chunking(size=0, max_batch_tokens=200),
        Chunking(size=None, shape="row", max_batch_tokens=500),
        Chunking(size=1, adaptive=False),
    ],
)
def test_chunks_change_nothing_but_rounding(chunking: Chunking) -> None:
    """The output and all gradients, at a size that no chunk divides."""
    whole, chunked = attention(WHOLE), attention(chunking)
    x, source = torch.randn(2, 2, 3, 11, 9, 8)
    outputs = [module(x, source) for module in (whole, chunked)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    for out in outputs:
        out.square().mean().backward()
    assert whole.chunks == 1
    assert chunked.chunks > 1
    for a, b in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_at_batch_1_the_size_is_the_limit_that_counts() -> None:
    """More tokens alone change nothing there; a larger chunk does. At batch 8 it is the other way round."""
    few, many = Chunking(size=8, max_batch_tokens=400), Chunking(size=8, max_batch_tokens=6400)
    assert count(few, batch=1) == count(many, batch=1) == 16
    assert count(many._replace(size=16), batch=1) == 4
    assert count(few, batch=8) == 64
    assert count(few._replace(size=16), batch=8) == 64
    assert count(many, batch=8) == 16


def test_adaptive_halves_the_side_until_the_tokens_fit() -> None:
    assert Chunking(size=64, max_batch_tokens=32768).chunk(1, 5, 256, 256) == (64, 64)
    assert Chunking(size=64, max_batch_tokens=32768).chunk(2, 5, 256, 256) == (32, 32)
    assert Chunking(size=64, max_batch_tokens=32768, adaptive=False).chunk(2, 5, 256, 256) == (64, 64)
    assert Chunking(size=64, max_batch_tokens=1).chunk(2, 5, 256, 256) == (1, 1)


def test_no_size_starts_from_the_whole_picture() -> None:
    for size in (None, 0):
        assert Chunking(size, adaptive=False).chunk(1, 5, 96, 128) == (96, 128)
        assert Chunking(size, max_batch_tokens=5 * 64 * 64).chunk(1, 5, 96, 128) == (64, 64)


def test_a_row_chunk_has_as_many_pixels_as_a_square_one_in_whole_rows() -> None:
    rows = Chunking(size=16, shape="row")
    assert rows.chunk(1, 5, 64, 64) == (4, 64)
    assert rows.chunk(1, 5, 64, 300) == (1, 300)
    assert rows.chunk(1, 5, 2, 64) == (2, 64)


def test_a_pixel_is_told_nothing_of_its_neighbours() -> None:
    """That is why chunks change nothing."""
    module = attention(WHOLE)
    x = torch.randn(1, 4, 5, 5, 8)
    changed = x.clone()
    changed[:, 1, 2, 3] += 1
    difference = (module(changed, changed) != module(x, x)).any(-1)[0]
    wanted = torch.zeros(4, 5, 5, dtype=torch.bool)
    wanted[:, 2, 3] = True
    assert torch.equal(difference, wanted)


def test_the_order_of_frames_matters() -> None:
    """Without the time of each frame, the output for frame 0 would not change when the others swap places."""
    module = attention(WHOLE)
    x = torch.randn(1, 3, 1, 1, 8)
    swapped = x[:, [0, 2, 1]]
    assert not torch.allclose(module(x, x)[:, 0], module(x, swapped)[:, 0], atol=1e-4)
