"""What a step computes and moves: by hand, imitated and real, and in all phases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hotlap.estimate.imitation import imitation
from hotlap.estimate.memory import Step, track_one, training
from hotlap.estimate.rates import counted
from hotlap.probe.counting import KINDS, Count, mode
from hotlap.records import Work


def of_step(build: Callable[[], Step]) -> Work:
    """Of the last step, as an estimate counts it."""
    count = Count(torch)

    def twice() -> tuple[Step, Step]:
        step = build()
        return step, step

    track_one(twice, count=count)
    return counted(count)


def of_call(function: Callable[[], Any]) -> dict[str, tuple[int, int, int]]:
    """Operations, bytes and width of each kind."""
    count = Count(torch)
    with mode(count, lambda: "forward"):
        function()
    return {row[1]: (row[3], row[4], row[5]) for row in count.lines()}


def by_phase(work: Work) -> dict[str, float]:
    found: Counter[str] = Counter()
    for each in work.calls:
        found[each.phase] += each.flops * each.count
    return dict(found)


def linear(*, again: bool = False) -> Step:
    inner = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = checkpoint(self.inner, x, use_reentrant=False) if again else self.inner(x)
            return out

    model = Net()
    return training(model, torch.optim.SGD(model.parameters(), 0.1), [torch.randn(8, 16)], lambda out: out.sum())


def test_a_product_by_hand() -> None:
    """Two operations for each multiply-add; every tensor once; the width is the middle side."""
    a, b = torch.randn(8, 16), torch.randn(16, 4)
    assert of_call(lambda: a @ b) == {"product": (2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4), 8)}


def test_bytes_by_hand() -> None:
    """In place is read and written; what is only written or expanded counts so; a view moves nothing."""
    x = torch.ones(100)
    assert of_call(lambda: x.add_(x)) == {"elementwise": (0, 3 * 400, 0)}
    assert of_call(x.zero_) == {"copy": (0, 400, 0)}
    assert of_call(lambda: x.view(10, 10)) == {"view": (0, 0, 0)}
    assert of_call(lambda: x.copy_(torch.ones(1).expand(100)))["copy"][1] == 400 + 4
    assert of_call(lambda: torch.ones(1000, 8)[torch.tensor([3])])["gather"][1] == 2 * 32


def test_phases() -> None:
    """Forward of both layers; two gradients of weights and one of an input; what is computed again is apart.

    Of that the last layer is left out: nobody needs what it returns.
    """
    forward, one = 2 * 8 * (16 * 32 + 32 * 4), 2 * 8 * 16 * 32
    found = by_phase(of_step(linear))
    assert (found["forward"], found["backward"], found["optimizer"]) == (forward, 2 * forward - one, 0)
    found = by_phase(of_step(lambda: linear(again=True)))
    assert (found["forward"], found["recompute"]) == (forward, one)


def test_imitated_and_real_are_the_same() -> None:
    """The tensors' shapes say it all."""

    def build() -> Step:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, 5))
        optimizer = torch.optim.Adam(model.parameters(), foreach=True)
        labels = torch.tensor([1, 2])
        return training(model, optimizer, [torch.randn(2, 3, 8, 8)], lambda out: F.cross_entropy(out, labels))

    real = of_step(build)
    with imitation():
        imitated = of_step(build)
    # An imitated training answers its own questions, so a view more or less is possible.
    left, right = ([call for call in work.calls if call.kind != "view"] for work in (real, imitated))
    assert sorted(left, key=str) == sorted(right, key=str)
    assert not real.unknown
    assert {call.kind for call in left} >= {"convolution", "convolution_backward", "product", "normalization", "heavy"}


def test_formulas_of_our_own() -> None:
    """A CPU's fused attention counts as its two products; a recurrent layer as its gates."""
    q = torch.randn(2, 4, 32, 8)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    assert of_call(lambda: attention(q, q, q))["attention"][0] == 2 * 2 * (2 * 4 * 32 * 32 * 8)
    layer, x = nn.LSTM(8, 16), torch.randn(5, 2, 8)
    with torch.no_grad():
        found = of_call(lambda: layer(x))
    assert found["recurrent"][0] == 2 * 5 * 2 * 4 * 16 * (8 + 16)


def test_an_operator_that_nobody_knows_is_named() -> None:
    """Its bytes are counted, and it is said."""

    @torch.library.custom_op("hotlap_tests::doubled", mutates_args=())
    def doubled(x: Tensor) -> Tensor:
        return 2 * x

    count = Count(torch)
    with mode(count, lambda: "forward"):
        doubled(torch.ones(10))
    assert count.unknown == {"hotlap_tests.doubled"}


def test_what_cannot_be_counted_goes_on() -> None:
    """A sparse tensor has no storage: the step is computed all the same, and it is said."""
    count = Count(torch)
    sparse = torch.eye(3).to_sparse()
    with mode(count, lambda: "forward"):
        found = torch.sparse.mm(sparse, torch.ones(3, 2))
    assert torch.equal(found, torch.ones(3, 2))
    assert count.failed is not None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("recurrent", "attention")])
def test_names_are_operators(kind: str) -> None:
    """A misspelt name would never be met: some of each kind are there in this torch."""
    assert any(hasattr(torch.ops.aten, name) or hasattr(torch.ops.aten, f"{name}_") for name in KINDS[kind].split())
