"""Transformer blocks: checkpointing, residuals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hotlap.workloads.vrt_spike import blocks
from hotlap.workloads.vrt_spike.blocks import BlockOptions, GatedFeedForward, Group


def make(mutual: bool = True, **options: bool) -> Group:
    torch.manual_seed(0)
    window = (2, 4, 4) if mutual else (4, 4, 4)
    return Group(8, 2, window, BlockOptions(heads=2, **options), mutual=mutual)


@pytest.mark.parametrize("mutual", [True, False])
@pytest.mark.parametrize("part", ["checkpoint_attention", "checkpoint_feed_forward"])
def test_a_checkpointed_part_gives_the_same_gradients(part: str, mutual: bool) -> None:
    plain, checkpointed = make(mutual), make(mutual, **{part: True})
    x = torch.rand(1, 3, 8, 8, 8)
    for group in (plain, checkpointed):
        group(x).square().mean().backward()
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize(
    ("options", "training", "calls"),
    [
        ({}, True, 0),
        ({"checkpoint_attention": True}, True, 2),
        ({"checkpoint_feed_forward": True}, True, 2),
        ({"checkpoint_attention": True, "checkpoint_feed_forward": True}, True, 4),
        ({"checkpoint_attention": True, "checkpoint_feed_forward": True}, False, 0),
    ],
)
def test_checkpointing_that_is_off_is_not_called(
    options: dict[str, bool], training: bool, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each of the two blocks and each part that asked for it, and never while validating."""
    seen = []
    original = blocks.checkpoint

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(blocks, "checkpoint", counted)
    make(**options).train(training)(torch.rand(1, 2, 4, 4, 8))
    assert len(seen) == calls


def test_a_gate_of_zero_lets_nothing_through() -> None:
    layer = GatedFeedForward(4, 8, 4)
    torch.nn.init.zeros_(layer.gate.weight)
    torch.nn.init.zeros_(layer.gate.bias)
    assert torch.equal(layer(torch.randn(3, 4)), layer.out.bias.expand(3, 4))


def test_a_shifted_block_joins_what_a_plain_one_keeps_apart() -> None:
    """One block reaches its window only; two reach the next window and the next pair of frames."""
    torch.manual_seed(0)
    options = BlockOptions(heads=2)
    x = torch.randn(1, 4, 8, 4, 8)
    changed = x.clone()
    changed[:, 1, 3] += 1
    reached = []
    for count in (1, 2):
        group = Group(8, count, (2, 4, 4), options, mutual=True).double()
        difference = (group(changed.double()) != group(x.double())).any(-1)[0]
        reached.append((bool(difference[:, 4:].any()), bool(difference[2:].any())))
    assert reached == [(False, False), (True, True)]
