"""Alignment of neighbouring frames: deformable convolution, warping."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F

from hotlap.workloads.vrt_spike.alignment import DeformableAlignment, WarpAlignment, deformable_conv2d

GROUPS, TAPS = 2, 9


def arguments(**replaced: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    values = {
        "x": torch.randn(2, 4, 7, 10),
        "offset": 3 * torch.randn(2, 2 * GROUPS * TAPS, 7, 10),
        "mask": torch.rand(2, GROUPS * TAPS, 7, 10),
        "weight": torch.randn(5, 4, 3, 3),
        "bias": torch.randn(5),
    }
    return values | replaced


def test_without_offset_and_mask_it_is_a_convolution() -> None:
    plain = arguments(offset=torch.zeros(2, 2 * GROUPS * TAPS, 7, 10), mask=torch.ones(2, GROUPS * TAPS, 7, 10))
    expected = F.conv2d(plain["x"], plain["weight"], plain["bias"], padding=1)
    torch.testing.assert_close(deformable_conv2d(**plain), expected, rtol=1e-4, atol=1e-4)


def test_it_is_the_sum_over_taps_of_bilinear_samples() -> None:
    """Against the formula at single pixels, with offsets far out of the picture among them."""
    given = arguments()
    out = deformable_conv2d(**given)
    x = F.pad(given["x"], (20, 20, 20, 20))
    for n, row, column in [(0, 0, 0), (1, 6, 9), (0, 3, 4), (1, 0, 5)]:
        samples = torch.zeros(4, TAPS)
        for group in range(GROUPS):
            for tap in range(TAPS):
                at = group * TAPS + tap
                y = row + tap // 3 - 1 + float(given["offset"][n, 2 * at, row, column]) + 20
                z = column + tap % 3 - 1 + float(given["offset"][n, 2 * at + 1, row, column]) + 20
                top, left = int(y // 1), int(z // 1)
                box = x[n, 2 * group : 2 * group + 2, top : top + 2, left : left + 2]
                weights = torch.outer(torch.tensor([1 - y % 1, y % 1]), torch.tensor([1 - z % 1, z % 1]))
                value = (box * weights).sum((1, 2)) * given["mask"][n, at, row, column]
                samples[2 * group : 2 * group + 2, tap] = value
        expected = given["weight"].flatten(1) @ samples.flatten() + given["bias"]
        torch.testing.assert_close(out[n, :, row, column], expected, rtol=1e-4, atol=1e-4)


def test_it_is_the_operator_of_torchvision() -> None:
    try:
        ops = importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError):
        pytest.skip("torchvision is not here, or not for this torch")
    given = arguments()
    names = ("x", "offset", "weight", "bias")
    expected = ops.deform_conv2d(*(given[name] for name in names), padding=1, mask=given["mask"])
    torch.testing.assert_close(deformable_conv2d(**given), expected, rtol=1e-4, atol=1e-4)


def test_its_gradients_are_those_of_its_output() -> None:
    """Against finite differences; the offsets lie between pixels, where bilinear sampling is smooth."""
    given = {name: value[:1, ..., :4, :4] if value.dim() == 4 and name != "weight" else value
             for name, value in arguments().items()}  # fmt: skip
    given["offset"] = 0.25 + 0.5 * torch.rand_like(given["offset"])
    weights = torch.rand(1, 5, 4, 4)
    for name in ("offset", "mask", "weight", "x"):
        leaf = given[name].clone().requires_grad_()
        loss = (deformable_conv2d(**given | {name: leaf}) * weights).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        direction = torch.randn_like(leaf)
        ends = [
            (deformable_conv2d(**given | {name: given[name] + step * direction}) * weights).sum().item()
            for step in (1e-3, -1e-3)
        ]
        assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-2)


def test_deformable_alignment_begins_where_the_flow_points() -> None:
    """With a flow of whole pixels, it is half of a convolution of the shifted neighbour."""
    torch.manual_seed(0)
    alignment = DeformableAlignment(4, groups=2)
    neighbour, frame = torch.randn(2, 1, 4, 8, 8)
    flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    shifted = F.conv2d(neighbour, alignment.conv.weight / 2, alignment.conv.bias, padding=1)[..., 1:, 2:]
    out = alignment(neighbour, frame, flow)[..., :-1, :-2]
    torch.testing.assert_close(out, shifted, rtol=1e-4, atol=1e-4)


def test_warp_alignment_is_a_convolution_of_the_shifted_neighbour() -> None:
    torch.manual_seed(0)
    alignment = WarpAlignment(4)
    neighbour, frame = torch.randn(2, 1, 4, 8, 8)
    flow = torch.tensor([-2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    out = alignment(neighbour, frame, flow)[..., 1:-1, 3:-1]
    torch.testing.assert_close(out, alignment.mend(neighbour)[..., 1:-1, 1:-3], rtol=1e-4, atol=1e-4)
