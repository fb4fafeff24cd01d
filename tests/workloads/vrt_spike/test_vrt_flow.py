"""Optical flow and warping."""

from __future__ import annotations

import math

import torch

from hotlap.workloads.vrt_spike.flow import FlowNetwork, warp


def test_warping_by_whole_pixels_shifts() -> None:
    picture = torch.rand(2, 3, 9, 12)
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 9, 12)
    torch.testing.assert_close(warp(picture, flow)[..., 2:, :-3], picture[..., :-2, 3:], rtol=0, atol=1e-5)


def test_warping_by_half_a_pixel_is_the_mean_of_two() -> None:
    picture = torch.rand(1, 1, 6, 7)
    flow = torch.zeros(1, 2, 6, 7)
    flow[:, 0] = 0.5
    expected = (picture[..., :-1] + picture[..., 1:]) / 2
    torch.testing.assert_close(warp(picture, flow)[..., :-1], expected, rtol=0, atol=1e-5)


def test_outside_of_the_picture_its_edge_goes_on() -> None:
    picture = torch.rand(1, 2, 5, 5)
    far = torch.full((1, 2, 5, 5), -50.0)
    torch.testing.assert_close(warp(picture, far), picture[..., :1, :1].expand(1, 2, 5, 5))


def test_places_stay_exact_when_the_picture_is_in_bfloat16() -> None:
    picture = torch.arange(600.0).expand(1, 1, 4, 600).bfloat16()
    out = warp(picture, torch.full((1, 2, 4, 600), 0.0))
    assert torch.equal(out, picture)


def test_a_flow_that_is_no_number_makes_no_number() -> None:
    """And not the end of the process, which is what torch's operator makes of it in backward."""
    picture, flow = torch.rand(1, 2, 16, 16, requires_grad=True), torch.zeros(1, 2, 16, 16)
    flow[0, 0, 3, 4] = math.nan
    warped = warp(picture, flow.requires_grad_())
    assert warped.isnan().sum() == 2
    assert warped[0, :, 3, 4].isnan().all()
    warped.sum().backward()


def test_the_untrained_network_sees_no_motion() -> None:
    first, second = torch.rand(2, 3, 17, 30), torch.rand(2, 3, 17, 30)
    flow = FlowNetwork(levels=6, width=4)(first, second)
    assert torch.equal(flow, torch.zeros(2, 2, 17, 30))


def test_a_flow_that_the_coarsest_level_finds_keeps_its_length_in_pixels_of_the_picture() -> None:
    """One pixel at a quarter of the size is four at full size, also where sizes are odd."""
    network = FlowNetwork(levels=3, width=4)
    bias = network.levels[0][-1].bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias.copy_(torch.tensor([1.0, -2.0]))
    even = network(*torch.rand(2, 1, 3, 16, 16))
    torch.testing.assert_close(even, torch.tensor([4.0, -8.0]).view(1, 2, 1, 1).expand_as(even))
    odd = network(*torch.rand(2, 1, 3, 15, 13))
    torch.testing.assert_close(odd, torch.tensor([13 / 4, -2 * 15 / 4]).view(1, 2, 1, 1).expand_as(odd))


def test_the_network_learns_a_shift() -> None:
    """Trained along with nothing but how like the frames become, it finds two pixels to the right."""
    torch.manual_seed(0)
    network = FlowNetwork(levels=3, width=8)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    smooth = torch.nn.functional.interpolate(torch.rand(8, 3, 6, 8), size=(24, 34), mode="bicubic")
    first, second = smooth[..., 2:], smooth[..., :-2]
    for _ in range(60):
        loss = (warp(second, network(first, second)) - first).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network(first, second).detach()[..., 4:-4, 4:-4].mean((0, 2, 3))
    torch.testing.assert_close(found, torch.tensor([2.0, 0.0]), rtol=0, atol=0.4)
