"""Windows over a video: cutting and putting together, masks, relative positions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hotlap.workloads.vrt_spike.blocks import MutualAttention, SelfAttention
from hotlap.workloads.vrt_spike.windows import Box, Partition, RelativePositionBias, sine_code_2d

CPU = torch.device("cpu")
BOXES = st.tuples(*[st.integers(1, 7)] * 3)


def attended(attention: torch.nn.Module, video: Tensor, window: Box, shifted: bool) -> Tensor:
    """The attention alone over all windows of a video."""
    frames, rows, columns = video.shape[1:4]
    partition = Partition((frames, rows, columns), window, shifted=shifted, device=CPU)
    out: Tensor = partition.merge(attention(partition.split(video), partition))
    return out


def reaches(attention: torch.nn.Module, video: Tensor, window: Box, shifted: bool, place: Box) -> Tensor:
    """Where the output depends on the input at the place: (T, H, W) of bool, for one video."""
    before = attended(attention, video, window, shifted)
    changed = video.clone()
    changed[0][place] += 1.0
    return (attended(attention, changed, window, shifted) != before)[0].any(-1)


def box(video: Box, *ranges: range) -> Tensor:
    """True at the places of the ranges."""
    wanted = torch.zeros(video, dtype=torch.bool)
    frames, rows, columns = (torch.tensor(list(r)) for r in ranges)
    wanted[frames[:, None, None], rows[:, None], columns] = True
    return wanted


@settings(max_examples=40, deadline=None)
@given(video=BOXES, window=BOXES, shifted=st.booleans())
def test_cutting_and_merging_gives_the_video_back(video: Box, window: Box, shifted: bool) -> None:
    partition = Partition(video, window, shifted=shifted, device=CPU)
    x = torch.arange(2 * math.prod(video) * 3).view(2, *video, 3)
    windows = partition.split(x)
    assert windows.shape == (2, partition.windows, math.prod(partition.window), 3)
    assert torch.equal(partition.merge(windows), x)


def test_an_unshifted_window_is_a_box_of_neighbours() -> None:
    x = torch.arange(4 * 4 * 6).view(1, 4, 4, 6, 1)
    windows = Partition((4, 4, 6), (2, 2, 3), shifted=False, device=CPU).split(x)
    assert torch.equal(windows[0, 1, :, 0], x[0, :2, :2, 3:, 0].flatten())
    assert torch.equal(windows[0, -1, :, 0], x[0, 2:, 2:, 3:, 0].flatten())


def test_a_window_larger_than_the_video_is_clipped_and_not_shifted() -> None:
    partition = Partition((5, 3, 8), (6, 8, 8), shifted=True, device=CPU)
    assert partition.window == (5, 3, 8)
    assert partition.shift == (0, 0, 0)
    assert partition.regions is None


@pytest.mark.parametrize(
    ("place", "ranges"),
    [
        # The roll puts row 7 beside row 0: they never were neighbours.
        ((0, 0, 0), (range(4), range(2), range(2))),
        ((3, 7, 7), (range(4), range(6, 8), range(6, 8))),
        ((0, 7, 3), (range(4), range(6, 8), range(2, 6))),
        ((0, 3, 3), (range(4), range(2, 6), range(2, 6))),
    ],
)
def test_shifted_self_attention_stays_among_neighbours(place: Box, ranges: tuple[range, ...]) -> None:
    """What is changed at one side of the picture changes nothing on the other, and everything in its own window."""
    torch.manual_seed(0)
    attention = SelfAttention(8, (4, 4, 4), heads=2)
    video = torch.randn(1, 4, 8, 8, 8)
    assert torch.equal(reaches(attention, video, (4, 4, 4), True, place), box((4, 8, 8), *ranges))


def test_padding_is_not_attended_to() -> None:
    """Five rows in windows of four: the fifth is attended to as if it stood alone."""
    torch.manual_seed(0)
    attention = SelfAttention(8, (2, 4, 4), heads=2)
    video = torch.randn(1, 2, 5, 4, 8)
    alone = attended(attention, video[:, :, 4:], (2, 4, 4), False)
    torch.testing.assert_close(attended(attention, video, (2, 4, 4), False)[:, :, 4:], alone)


@pytest.mark.parametrize(
    ("frame", "shifted", "partner"), [(0, False, 1), (3, False, 2), (4, False, None), (0, True, None), (2, True, 1)]
)
def test_mutual_attention_looks_at_the_other_frame_only(frame: int, shifted: bool, partner: int | None) -> None:
    """A changed value is seen by its own queries and by the partner; a frame without one gets zeros, in a clip of 5."""
    torch.manual_seed(0)
    attention = MutualAttention(8, heads=2)
    video = torch.randn(1, 5, 4, 4, 8)
    if partner is None:
        out = attended(attention, video, (2, 4, 4), shifted)
        assert torch.equal(out[:, frame], torch.zeros_like(out[:, frame]))
        assert torch.equal(
            reaches(attention, video, (2, 4, 4), shifted, (frame, 1, 1)), torch.zeros(5, 4, 4, dtype=torch.bool)
        )
        return
    wanted = box((5, 4, 4), range(partner, partner + 1), range(4), range(4))
    wanted[frame, 1, 1] = True
    assert torch.equal(reaches(attention, video, (2, 4, 4), shifted, (frame, 1, 1)), wanted)


def test_shifted_mutual_attention_stays_among_neighbours() -> None:
    torch.manual_seed(0)
    attention = MutualAttention(8, heads=2)
    wanted = box((4, 8, 8), range(2, 3), range(6, 8), range(6, 8))
    wanted[1, 7, 7] = True
    assert torch.equal(reaches(attention, torch.randn(1, 4, 8, 8, 8), (2, 4, 4), True, (1, 7, 7)), wanted)


def test_mutual_attention_of_a_single_frame_is_nothing() -> None:
    attention = MutualAttention(8, heads=2)
    assert not attended(attention, torch.randn(1, 1, 4, 4, 8), (2, 4, 4), False).any()


@pytest.mark.parametrize("shifted", [False, True])
def test_self_attention_is_softmax_of_logits_bias_and_mask(shifted: bool) -> None:
    """Against the formula, token by token, with windows that are clipped, padded and shifted at once."""
    torch.manual_seed(0)
    attention = SelfAttention(8, (4, 4, 3), heads=2)
    torch.nn.init.normal_(attention.bias.table)
    frames, rows, columns = 3, 8, 7
    video = torch.randn(2, frames, rows, columns, 8)
    projected = F.linear(video, attention.qkv.weight, attention.qkv.bias)
    shift = (0, 2, 1) if shifted else (0, 0, 0)
    places = [(t, y, x) for t in range(frames) for y in range(rows) for x in range(columns)]

    def window(place: Box) -> list[int]:
        size = (frames, 4, 3)
        return [(p - s + w) // w for p, s, w in zip(place, shift, size, strict=True)]

    def bias(here: Box, there: Box) -> Tensor:
        t, y, x = (a - b for a, b in zip(here, there, strict=True))
        return attention.bias.table[((t + 3) * 7 + y + 3) * 5 + x + 2]

    out = attended(attention, video, (4, 4, 3), shifted)
    for place in [(0, 0, 0), (2, 7, 6), (1, 2, 1), (0, 1, 5), (1, 5, 3)]:
        seen = [other for other in places if window(other) == window(place)]
        query = projected[(slice(None), *place)][:, :8]
        keys, values = torch.stack([projected[(slice(None), *other)] for other in seen])[..., 8:].chunk(2, -1)
        biases = torch.stack([bias(place, other) for other in seen])
        for head, part in enumerate([slice(0, 4), slice(4, 8)]):
            logits = (query[:, part] * keys[..., part]).sum(-1) / 2 + biases[:, head, None]
            expected = (logits.softmax(0)[..., None] * values[..., part]).sum(0)
            found = out[(slice(None), *place)][:, part]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_heads_that_the_kernel_cannot_take_are_attended_to_all_the_same() -> None:
    """Ten features a head, in bfloat16 on a GPU, against float32 on the CPU."""
    torch.manual_seed(0)
    attention = SelfAttention(20, (2, 4, 4), heads=2)
    video = torch.randn(1, 4, 8, 8, 20)
    expected = attended(attention, video, (2, 4, 4), True)
    partition = Partition((4, 8, 8), (2, 4, 4), shifted=True, device=torch.device("cuda"))
    attention.to("cuda", torch.bfloat16)
    out = partition.merge(attention(partition.split(video.to("cuda", torch.bfloat16)), partition))
    torch.testing.assert_close(out.float().cpu(), expected, rtol=0.05, atol=0.05)


def test_a_clipped_window_keeps_the_bias_of_each_distance() -> None:
    bias = RelativePositionBias((3, 4, 5), heads=2)
    whole = bias((3, 4, 5)).view(2, 3, 4, 5, 3, 4, 5)
    clipped = bias((2, 3, 4)).view(2, 2, 3, 4, 2, 3, 4)
    assert torch.equal(clipped, whole[:, :2, :3, :4, :2, :3, :4])


def test_every_place_of_a_window_has_its_own_code() -> None:
    code = sine_code_2d(8, 8, 16, CPU)
    assert code.shape == (64, 16)
    distances = torch.cdist(code, code) + torch.eye(64)
    assert float(distances.min()) > 0.1
