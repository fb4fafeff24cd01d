"""Convolutions over few planes, whose gradients torch computes wrongly in half precision on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap import shallow


@pytest.fixture(autouse=True)
def _mended() -> Iterator[None]:
    before = F.conv3d, F.conv_transpose3d
    end = shallow.in_float32(torch)
    yield
    end()
    assert before == (F.conv3d, F.conv_transpose3d)


def in_bfloat16(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        out: Tensor = layer(x)
    return out


@pytest.mark.parametrize(
    ("layer", "planes", "float32"),
    [
        (nn.Conv3d(16, 16, 3, padding=1), 1, True),
        (nn.Conv3d(16, 16, 3, padding=1), 2, True),
        (nn.Conv3d(16, 16, 3, padding=1), 3, False),
        (nn.Conv3d(16, 16, 3, padding=(2, 1, 1), dilation=(2, 1, 1)), 4, True),
        (nn.Conv3d(16, 16, 3, padding=2, dilation=2), 5, False),
        (nn.Conv3d(16, 16, (1, 3, 3), padding=(0, 1, 1)), 2, False),
        (nn.ConvTranspose3d(16, 16, 3, padding=1), 2, True),
        (nn.ConvTranspose3d(16, 16, 3, padding=1), 3, False),
    ],
)
def test_only_what_is_wrong_runs_in_float32(layer: nn.Module, planes: int, float32: bool) -> None:
    """To the bit as without autocast, but rounded at the end."""
    x = torch.randn(2, 16, planes, 6, 6)
    out = in_bfloat16(layer, x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, layer(x).bfloat16()) == float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripts_are_compiled_as_before() -> None:
    """torch.jit knows its own functions by their identity."""
    layer = nn.Conv3d(4, 4, 3, padding=1)
    x = torch.randn(1, 4, 2, 5, 5)
    torch.testing.assert_close(torch.jit.script(layer)(x), layer(x))


@pytest.mark.parametrize("pure", [False, True])
def test_their_gradients_are_right(pure: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 32, 2, 8, 8)
    for _ in range(3):
        layer = nn.Conv3d(32, 32, 3, padding=1)
        exact = nn.Conv3d(32, 32, 3, padding=1)
        exact.load_state_dict(layer.state_dict())
        exact(x).square().sum().backward()
        out = layer.bfloat16()(x.bfloat16()) if pure else in_bfloat16(layer, x)
        out.float().square().sum().backward()
        assert layer.weight.grad is not None
        assert exact.weight.grad is not None
        apart = (layer.weight.grad.float() - exact.weight.grad).abs().max() / exact.weight.grad.abs().max()
        assert apart < 0.05
