"""What is computed in which precision on CUDA: compared with PyTorch's own rules for it, which need no card."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from hotlap.estimate import on_cuda as lists
from hotlap.estimate.imitation import CannotBeTraced, imitation
from hotlap.estimate.memory import Step, track, training
from hotlap.estimate.on_cuda import on_cuda
from hotlap.estimate.timeline import Timeline
from hotlap.workloads.vrt_spike.windows import attend

LOW, FULL = torch.bfloat16, torch.float32

#: An operator with a tensor in float32 and one in low precision, and what its result is in on CUDA.
OPERATORS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], torch.dtype]] = {
    "linear": (lambda x, low: F.linear(x, x), LOW),
    "matmul": (lambda x, low: x @ x, LOW),
    "einsum": (lambda x, low: torch.einsum("ij,jk->ik", x, low), LOW),
    "convolution": (lambda x, low: F.conv1d(x.unsqueeze(0), x.unsqueeze(-1)), LOW),
    "prelu": (lambda x, low: F.prelu(x, x.sum(0)), LOW),
    "attention": (
        lambda x, low: F.scaled_dot_product_attention(x.unsqueeze(0), low.unsqueeze(0), low.unsqueeze(0)),
        LOW,
    ),
    "layer norm": (lambda x, low: F.layer_norm(low, (8,)), FULL),
    "group norm": (lambda x, low: F.group_norm(low, 4), FULL),
    "softmax": (lambda x, low: F.softmax(low, -1), FULL),
    "log softmax": (lambda x, low: F.log_softmax(low, -1), FULL),
    "cross entropy": (lambda x, low: F.cross_entropy(low, low), FULL),
    "mean square error": (lambda x, low: F.mse_loss(low, low), FULL),
    "sum": (lambda x, low: low.sum(), FULL),
    "sum over an axis": (lambda x, low: low.sum(0), FULL),
    "sum, as asked": (lambda x, low: low.sum(0, dtype=LOW), LOW),
    "cumulated sum": (lambda x, low: low.cumsum(0), FULL),
    "product": (lambda x, low: low.prod(0), FULL),
    "power": (lambda x, low: low**3, FULL),
    "exponential": (lambda x, low: low.exp(), FULL),
    "norm": (lambda x, low: low.norm(), FULL),
    "norm over an axis": (lambda x, low: low.norm(dim=1), FULL),
    "interpolation": (lambda x, low: F.interpolate(low.unsqueeze(0), scale_factor=2), FULL),
    "mean": (lambda x, low: low.mean(), LOW),
    "gelu": (lambda x, low: F.gelu(low), LOW),
    "batch norm": (lambda x, low: F.batch_norm(low, None, None, training=True), LOW),
    "reflected edge": (lambda x, low: F.pad(low.unsqueeze(0), (1, 1), mode="reflect"), LOW),
    "addcmul": (lambda x, low: torch.addcmul(low, x, low), FULL),
    "addcmul, all low": (lambda x, low: torch.addcmul(low, low, low), LOW),
    "cat": (lambda x, low: torch.cat([x, low]), FULL),
    "stack": (lambda x, low: torch.stack([low, x]), FULL),
    "addition": (lambda x, low: x + low, FULL),
}


def result(operator: Callable[[Tensor, Tensor], Tensor], device: str) -> torch.dtype:
    x = torch.empty(8, 8, device=device)
    return operator(x, x.to(LOW)).dtype


@contextmanager
def of_torch() -> Iterator[None]:
    """PyTorch's own rules for CUDA, which ``torch.autocast`` leaves out where there is no card."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", LOW)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", torch.float16)


@pytest.mark.parametrize(("operator", "expected"), OPERATORS.values(), ids=OPERATORS)
def test_each_operator_in_its_precision(operator: Callable[[Tensor, Tensor], Tensor], expected: torch.dtype) -> None:
    """The one that is known, which PyTorch's own rules give, too."""
    with FakeTensorMode(), torch.no_grad():
        with of_torch():
            theirs = result(operator, "cuda")
        with on_cuda(), torch.autocast("cuda", LOW):
            ours = result(operator, "cpu")
    assert (theirs, ours) == (expected, expected)


def test_every_rule_of_this_torch_is_known() -> None:
    """An operator that a version of torch gives a rule on CUDA stands in one list."""
    known = Counter([*lists.LOW_PRECISION, *lists.FLOAT32, *lists.FLOAT32_RESULT, *lists.NORMS, *lists.PROMOTED])
    known.update(lists.REFUSED)
    assert lists._ruled("AutocastCUDA") <= known.keys()
    assert set(known.values()) == {1}


def test_nothing_is_left_behind() -> None:
    """The CPU's own rules are as before, and so is autocast."""
    before = [vars(torch.autocast)["__init__"], torch.clear_autocast_cache]
    x = torch.ones(4, dtype=LOW)
    with on_cuda(), torch.autocast("cpu"):
        assert x.sum().dtype == FULL
    with torch.autocast("cpu"):
        assert x.sum().dtype == LOW
        assert F.pad(torch.ones(1, 2, 3, dtype=LOW), (1, 1), mode="reflect").dtype == FULL
    assert [vars(torch.autocast)["__init__"], torch.clear_autocast_cache] == before


def imitated(build: Callable[[], Step]) -> Timeline:
    with imitation():
        return track(build, steps=1, as_on_cuda=True)


def shared(device: str = "cuda", **how: bool) -> Step:
    """One layer that is called twice."""
    layer = nn.Linear(100, 100)

    def step() -> None:
        with torch.autocast(device, LOW, **how):
            out = layer(layer(torch.randn(7, 100)))
        out.sum().backward()

    return step


def casts(timeline: Timeline) -> list[int]:
    return [block.size for block in timeline.blocks if block.category == "cast"]


def test_weights_are_cast_once() -> None:
    """Autocast keeps a weight's copy until it ends; without its cache each call makes one."""
    weight, bias = 2 * 100 * 100, 2 * 100
    assert casts(imitated(shared)) == [weight, bias]
    assert casts(imitated(functools.partial(shared, cache_enabled=False))) == 2 * [weight, bias]


def test_casts_live_until_autocast_ends() -> None:
    """Though nothing else needs them."""

    def build() -> Step:
        layer = nn.Linear(100, 100, bias=False)

        def step() -> None:
            with torch.autocast("cuda", LOW):
                layer(torch.randn(7, 100))
                torch.empty(1)  # marks where they still live
            torch.empty(2)  # and where they do not

        return step

    timeline = imitated(build)
    cast = next(number for number, block in enumerate(timeline.blocks) if block.category == "cast")
    inside, outside = (
        timeline.events.index(next(n for n, block in enumerate(timeline.blocks) if block.size == size))
        for size in (1 * 4, 2 * 4)
    )
    assert inside < timeline.events.index(~cast) < outside


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_autocast_that_is_meant_for_cuda_is_heard(device: str) -> None:
    """It is not left out because there is no card, and may be switched off inside; the CPU's stands for it, too."""

    def build(*, enabled: bool) -> Step:
        def step() -> None:
            with torch.autocast(device), torch.autocast(device, enabled=enabled):
                torch.ones(8, 8) @ torch.ones(8, 8)

        return step

    def made(*, enabled: bool) -> int:
        return next(each.size for each in imitated(lambda: build(enabled=enabled)).blocks if "mm" in each.operator)

    assert made(enabled=True) == 8 * 8 * 2
    assert made(enabled=False) == 8 * 8 * 4


def test_layer_norms_keep_float32() -> None:
    """In mixed precision their input is kept for backward in float32, which the CPU's rules do not."""

    def build() -> Step:
        model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64))
        sgd = torch.optim.SGD(model.parameters())
        return training(model, sgd, [torch.randn(500, 64)], lambda out: out.float().sum(), autocast=LOW)

    def kept(*, as_on_cuda: bool) -> int:
        with imitation():
            timeline = track(build, steps=1, as_on_cuda=as_on_cuda)
        full = 500 * 64 * 4
        return sum(block.size == full and block.category == "activation" for block in timeline.blocks)

    # The norm's input; its result, which nothing needs, is gone by then. The loss casts one more.
    assert kept(as_on_cuda=True) == kept(as_on_cuda=False) + 1


def test_softmax_of_float16_needs_no_copy() -> None:
    """CUDA's reads float16 and writes float32."""

    def softmax() -> None:
        with torch.autocast("cuda"):
            torch.ones(1000, dtype=torch.float16).softmax(0)

    assert [block.size for block in imitated(lambda: softmax).blocks if block.phase == "forward"] == [2000, 4000]


def test_what_cuda_refuses() -> None:
    """Binary cross entropy of probabilities ends a training in mixed precision there; the estimate says so before."""

    def loss() -> None:
        with torch.autocast("cuda"):
            F.binary_cross_entropy(torch.ones(3), torch.ones(3))

    with pytest.raises(CannotBeTraced, match=r"CUDA's autocast refuses binary_cross_entropy.*_with_logits"):
        imitated(lambda: loss)


def test_networks_of_the_workloads_take_their_way_on_cuda() -> None:
    """VRT-Spike fills heads up to a multiple of 8 in low precision; a script's own question is not answered so."""
    seen = []

    def step() -> None:
        x = torch.ones(1, 1, 2, 16, 20, dtype=LOW)
        seen.append(x.is_cuda)
        attend(x, x, x, None, None, None)  # type: ignore[arg-type]  # no windows are cut

    wide = 2 * 16 * 24 * 2
    assert [block.size for block in imitated(lambda: step).blocks].count(wide) >= 3
    assert seen == [False]


def test_what_is_computed_again_is_computed_as_before() -> None:
    """Inside of backward too, where checkpointing compares: heads are filled up, and dropout has no matrix."""

    def attention(x: Tensor) -> Tensor:
        out = attend(x, x, x, None, None, None)[0]  # type: ignore[arg-type]
        return F.scaled_dot_product_attention(out, x[0], x[0], dropout_p=0.5)

    def build() -> Step:
        layer = nn.Linear(20, 20)

        def step() -> None:
            with torch.autocast("cuda", LOW):
                x = layer(torch.ones(1, 1, 2, 100, 20))
                out = checkpoint(attention, x, use_reentrant=False)
            out.float().sum().backward()

        return step

    again = [block.size for block in imitated(build).blocks if block.phase == "recompute"]
    assert 2 * 100 * 24 * 2 in again
    assert not {2 * 100 * 100 * number for number in (1, 2, 4)} & set(again)
