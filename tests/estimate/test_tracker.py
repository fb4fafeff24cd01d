"""What the tracker says of trainings that can be counted by hand, imitated and real."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hotlap.estimate.imitation import imitate, imitation
from hotlap.estimate.memory import Step, track, training
from hotlap.estimate.timeline import Timeline, alive, peak, sizes, without

FLOAT = 4


def imitated(build: Callable[[], Step], steps: int = 2, *, as_on_cuda: bool = False) -> Timeline:
    with imitation():
        return track(build, steps=steps, as_on_cuda=as_on_cuda)


def total(timeline: Timeline, category: str) -> int:
    """Bytes of all blocks of a category that were ever born."""
    return sum(block.size for block in timeline.blocks if block.category == category)


def linear() -> Step:
    model = nn.Linear(100, 50)
    return training(model, torch.optim.Adam(model.parameters()), [torch.randn(7, 100)], Tensor.sum)


def test_linear_with_adam() -> None:
    """Parameters, gradients, moments, input and activations of a layer, to the byte."""
    timeline = imitated(linear, steps=1)
    parameters = (100 * 50 + 50) * FLOAT
    assert total(timeline, "parameter") == parameters
    assert total(timeline, "gradient") == parameters
    assert total(timeline, "optimizer") == 2 * parameters
    assert total(timeline, "host") == 2 * FLOAT
    assert total(timeline, "input") == 7 * 100 * FLOAT
    # The output, its sum and that divided by one micro-batch.
    assert total(timeline, "activation") == (7 * 50 + 1 + 1) * FLOAT
    now = Counter[str]()
    for block in alive(timeline, len(timeline.events) - 1):
        now[block.category] += block.size
    # The gradients are gone; of the step nothing else is left.
    assert now["gradient"] == now["activation"] == now["temporary"] == 0
    assert (now["parameter"], now["optimizer"], now["input"]) == (parameters, 2 * parameters, 7 * 100 * FLOAT)


def test_state_is_born_in_the_first_step() -> None:
    """The second step has the optimizer's state from its beginning, and no new one."""
    timeline = imitated(linear)
    assert {block.step for block in timeline.blocks if block.category == "optimizer"} == {1}
    assert total(timeline, "gradient") == 2 * (100 * 50 + 50) * FLOAT


def convolutions() -> Step:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return training(model, optimizer, [torch.randn(2, 3, 8, 8)], Tensor.sum, accumulation_steps=2, clip=1.0)


class Residual(nn.Module):
    def __init__(self, *, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(6)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + (checkpoint(layer, x, use_reentrant=False) if self.recompute else layer(x))
        return x


def residual(*, recompute: bool = False, micro_batches: int = 1, autocast: torch.dtype | None = None) -> Step:
    model = Residual(recompute=recompute)
    return training(
        model,
        torch.optim.AdamW(model.parameters()),
        [torch.randn(512, 64)],
        lambda out: out.float().sum(),
        accumulation_steps=micro_batches,
        autocast=autocast,
    )


@pytest.mark.parametrize(
    "build",
    [
        linear,
        convolutions,
        residual,
        lambda: residual(recompute=True),
        lambda: residual(micro_batches=2, autocast=torch.bfloat16),
    ],
    ids=["linear", "convolutions", "residual", "checkpointing", "autocast"],
)
def test_imitated_is_as_real(build: Callable[[], Step]) -> None:
    """The same storages are born in the same places, and as much lives at most, with memory or without."""
    real, without_memory = track(build), imitated(build)
    # Clipping takes norms one by one of imitated gradients, and all at once of real ones.
    assert [replace(each, operator="") for each in without_memory.blocks] == [
        replace(each, operator="") for each in real.blocks
    ]
    assert peak(without_memory).size == peak(real).size > 0


def test_checkpointing_keeps_less_and_computes_again() -> None:
    """With checkpointing fewer activations live when backward begins, and some are born again in it."""

    def kept(timeline: Timeline) -> int:
        first = next(
            number
            for number, event in enumerate(timeline.events)
            if event >= 0 and timeline.blocks[event].phase in ("backward", "recompute")
        )
        return sum(block.size for block in alive(timeline, first) if block.category == "activation")

    plain, recomputed = imitated(residual), imitated(lambda: residual(recompute=True))
    # Of a layer the sum stays, in the place of all that is computed on the way to it.
    assert kept(recomputed) < kept(plain) / 4
    assert peak(recomputed).size < peak(plain).size
    assert not [block for block in plain.blocks if block.phase == "recompute"]
    assert {block.module.split(".")[1] for block in recomputed.blocks if block.phase == "recompute"} == {"layers"}


def test_accumulation_keeps_one_set_of_gradients() -> None:
    """Micro-batches add to the same gradients."""
    one, three = imitated(residual), imitated(lambda: residual(micro_batches=3))
    assert total(three, "gradient") == total(one, "gradient")


def test_sums_in_backward_take_no_room() -> None:
    """Where two gradients meet, autograd adds the second to the first in place, though not before a tracker's eyes."""
    timeline = imitated(residual, steps=1)
    sums = [block for block in timeline.blocks if block.phase == "backward" and "add.Tensor" in block.operator]
    # Of six. The first has to be made: what comes to it from the sum at the end is one number in all places.
    assert len(sums) == 1


def test_tied_parameters_count_once() -> None:
    """An embedding that is the last layer too has one set of weights and one gradient."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(100, 16)
            self.last = nn.Linear(16, 100, bias=False)
            self.last.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.embedding(x))
            return out

    def build() -> Step:
        model = Tied()
        return training(model, torch.optim.SGD(model.parameters()), [torch.randint(0, 100, (4,))], Tensor.sum)

    timeline = imitated(build, steps=1)
    assert total(timeline, "parameter") == 100 * 16 * FLOAT
    assert total(timeline, "gradient") == 100 * 16 * FLOAT


def test_copied_layers_count_once() -> None:
    """A module that copies its layers has as much memory as one that makes them."""

    def build() -> Step:
        model = nn.Sequential(*(copy.deepcopy(nn.Linear(100, 50)) for _ in range(2)))
        return training(model[1], torch.optim.SGD(model[1].parameters()), [torch.randn(7, 100)], Tensor.sum)

    timeline = imitated(build, steps=1)
    assert total(timeline, "gradient") == total(timeline, "parameter") == (100 * 50 + 50) * FLOAT
    assert not [block for block in timeline.blocks if block.operator == "aten.t.default"]


def test_views_and_writing_in_place_are_not_counted() -> None:
    """A storage is counted once, whatever looks at it or writes into it; one that grows is counted as it is."""

    def step() -> None:
        x = torch.zeros(1000)
        x.view(10, 100).t()[2:].add_(1).mul_(2).detach()
        x.resize_(3000)

    timeline = imitated(lambda: step, steps=1)
    assert list(sizes(timeline)) == [4000, 0, 12000, 0]


def test_foreach_needs_room_for_all_parameters_at_once() -> None:
    """Left to itself, Adam works on one parameter after another here, and on all at once on CUDA."""

    def roots(*, as_on_cuda: bool) -> int:
        """Most bytes of square roots at once."""
        timeline = imitated(residual, as_on_cuda=as_on_cuda)
        return peak(without(timeline, lambda block: "sqrt" not in block.operator)).size

    assert roots(as_on_cuda=False) == 64 * 256 * FLOAT
    assert roots(as_on_cuda=True) == 6 * (2 * 64 * 256 + 256 + 64 + 2 * 64) * FLOAT


def test_dropout_as_on_cuda() -> None:
    """Dropout keeps a byte for each number there, and attention with dropout neither scores nor a mask of them."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.linear(x), 0.1)
            return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)

    def build() -> Step:
        model = Attention()
        return training(model, torch.optim.SGD(model.parameters()), [torch.randn(1, 2, 100, 32)], Tensor.sum)

    def kept(*, as_on_cuda: bool) -> list[int]:
        timeline = imitated(build, steps=1, as_on_cuda=as_on_cuda)
        return [block.size for block in timeline.blocks if block.category == "activation"]

    mask, scores = 2 * 100 * 32, 2 * 100 * 100 * FLOAT
    assert mask in kept(as_on_cuda=True)
    assert scores not in kept(as_on_cuda=True)
    assert mask not in kept(as_on_cuda=False)
    assert scores in kept(as_on_cuda=False)


def test_what_is_there_already() -> None:
    """A training that exists is imitated with what its parts share, and needs as much as if it were made anew."""
    torch.manual_seed(0)
    model = nn.Linear(100, 50)
    optimizer, batch = torch.optim.Adam(model.parameters()), [torch.randn(7, 100)]

    def build() -> Step:
        its_model, its_optimizer, its_batch = imitate(mode, (model, optimizer, batch))
        return training(its_model, its_optimizer, its_batch, Tensor.sum)

    with imitation() as mode:
        assert peak(track(build)).size == peak(imitated(linear)).size
    assert not optimizer.state
