"""The search for a batch: what it chooses on a made-up device, and that the model is given back as it was."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

import hotlap
from hotlap.errors import TrainingFailed, UsageError
from hotlap.estimate import batch_size, training_step
from hotlap.estimate.batch_size import BatchSizeOptimizer, find_optimal_batch_size
from hotlap.estimate.training_step import default_loss
from hotlap.estimate.untouched import untouched

pytestmark = pytest.mark.usefixtures("own_numbers")


@pytest.fixture
def own_numbers() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


class Clock:
    """Moves when a model computes, and a little with every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-9
        return self.now


class Timed(nn.Module):
    """Takes ``fixed`` seconds a call and ``each`` for every sample; out of memory beyond ``most`` samples."""

    def __init__(self, clock: Clock, fixed: float, each: float, most: int = 10**6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.clock, self.fixed, self.each, self.most = clock, fixed, each, most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("made up")
        self.clock.now += self.fixed + self.each * max(len(x), 8)
        return x * self.weight


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(batch_size, "_clock", made)
    return made


SAMPLE = torch.ones(3, 2)


def test_the_smallest_batch_that_is_as_fast_is_chosen(clock: Clock) -> None:
    """Up to 8 samples cost as much as one, more of them cost their share: larger batches give nothing."""
    size, found = find_optimal_batch_size(Timed(clock, fixed=0.0, each=0.01), SAMPLE)
    assert size == 8
    assert max(each.batch_size for each in found.tried) == 32  # two sizes without a gain are enough
    assert found.confidence == pytest.approx(1 - 2 / 2**7)
    assert {each.batch_size: each.why for each in found.tried}[1] == "slower by far"


def test_the_largest_that_fits_is_chosen_where_each_doubling_gains(clock: Clock) -> None:
    """What runs out of memory is contained and named."""
    size, found = find_optimal_batch_size(Timed(clock, fixed=1.0, each=0.001, most=40), SAMPLE, budget=1e6)
    assert size == 32
    assert found.tried[-1].batch_size == 64
    assert found.tried[-1].why == "out of memory"


def test_memory_that_would_not_be_enough_is_not_tried(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the line through the two sizes before."""
    peaks = iter(10 * 2**n for n in range(10))
    monkeypatch.setattr(batch_size.PeakMemory, "read", lambda self: next(peaks))
    _, found = find_optimal_batch_size(Timed(clock, 1.0, 0.001), SAMPLE, memory_limit=100, budget=1e6)
    assert [each.batch_size for each in found.tried] == [1, 2, 4, 8, 16]
    assert "are allowed" in found.tried[-1].why
    assert found.tried[-1].samples_per_second is None


def test_time_ends_it_too(clock: Clock) -> None:
    _, found = find_optimal_batch_size(Timed(clock, fixed=1.0, each=0.001), SAMPLE, budget=30)
    assert "s are left" in found.tried[-1].why
    assert found.rounds >= 3


def test_a_configuration_gives_precision_rate_and_effective_batch(clock: Clock) -> None:
    """Micro-batches that keep 24 samples in a step are told; of a batch that does not divide it, none are."""
    model = Timed(clock, fixed=0.0, each=0.01)
    chosen = BatchSizeOptimizer(model, {"batch_size": 12, "accumulation_steps": 2, "use_mixed_precision": True})
    size, found = chosen.find_optimal_batch_size(SAMPLE, target_gpu_util=85.0)
    assert (size, found.accumulation_steps) == (8, 3)
    assert (found.gpu_utilization, found.reached_target) == (None, None)
    assert BatchSizeOptimizer(model, {"batch_size": 9}).find_optimal_batch_size(SAMPLE)[1].accumulation_steps is None


class Network(nn.Module):
    """Everything that a training step changes besides weights."""

    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 3))
        self.register_buffer("running", torch.zeros(()), persistent=False)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.running = self.running + x.mean().detach()  # another tensor in each step
        self.seen = x.shape
        out: Tensor = self.body(x + numpy.random.rand() + random.random())
        return out


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = {
        f"{number} {key}": value for number, each in enumerate(optimizer.state.values()) for key, value in each.items()
    }
    grads = {f"grad {name}": each.grad for name, each in model.named_parameters()}
    tensors = {**named, **state, **grads, "numbers": torch.get_rng_state()}
    return {
        **{name: None if each is None else each.detach().clone() for name, each in tensors.items()},
        "identities": {name: id(each) for name, each in {**named, **state, **grads}.items()},
        "groups": [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        "training": [module.training for module in model.modules()],
        "attributes": sorted(vars(model)),
        "python": random.getstate(),
        "numpy": numpy.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
    }


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    def equal(x: Any, y: Any) -> bool:
        return torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else bool(x == y)

    return [key for key in a | b if key not in a or key not in b or not equal(a[key], b[key])]


@pytest.mark.parametrize("fresh", [True, False], ids=["before the first step", "in the middle"])
def test_the_model_is_given_back_bit_for_bit(fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, running means, the optimizer's state, gradients, counters, modes and all random generators."""
    for name in ("_BLOCK", "_LOOK"):
        monkeypatch.setattr(batch_size, name, 1e-3)
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    pictures, targets = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 4, 4)
    if not fresh:
        model(pictures).mean().backward()
        optimizer.step()
    model.body[0].eval()
    before, calls = everything(model, optimizer), model.calls
    size, found = find_optimal_batch_size(
        model, (pictures, targets), optimizer=optimizer, clip=1.0, largest=4, budget=1e6
    )
    assert size in (1, 2, 4)
    assert [each.batch_size for each in found.tried] == [1, 2, 4]
    assert differing(before, everything(model, optimizer)) == []
    assert model.calls == calls
    # A training that goes on computes what it would have computed.
    model.train()
    model(pictures).mean().backward()
    optimizer.step()
    assert "body.0.weight" in differing(before, everything(model, optimizer))


def test_it_is_given_back_after_an_error_too() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = everything(model, optimizer)

    def loss(output: Tensor, target: Any) -> Tensor:
        raise RuntimeError("no such loss\nbecause it is made up")

    with pytest.raises(TrainingFailed, match=r"no batch could be trained on: no such loss$"):
        find_optimal_batch_size(model, SAMPLE, optimizer=optimizer, loss=loss)
    assert differing(before, everything(model, optimizer)) == []


def test_what_an_optimizer_trains_besides_is_given_back() -> None:
    """Tied tensors stay tied, and a tensor that is rebound is bound again."""
    model, other = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([*model.parameters(), other])
    weight = model.weight
    with untouched(model, optimizer):
        weight.data = torch.zeros(2, 2)
        model.weight = nn.Parameter(torch.zeros(2, 2))
        other.data.add_(1)
        optimizer.param_groups[0]["lr"] = 9.0
    assert model.weight is weight
    assert weight.abs().sum() > 0
    assert other.tolist() == [1.0, 1.0]
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_what_lies_in_one_place_several_times_is_given_back() -> None:
    """An expanded buffer cannot be written to as a whole; what was written below it is taken back all the same."""
    model, below = nn.Linear(2, 2), torch.ones(1)
    model.register_buffer("several", below.expand(8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = everything(model, optimizer)
    with untouched(model, optimizer):
        below.zero_()
        model.weight.data.zero_()
    assert differing(before, everything(model, optimizer)) == []
    assert below.tolist() == [1.0]


def test_what_cannot_be_given_back_is_no_reason_to_keep_the_rest() -> None:
    """It is said, and everything after it is as before."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model, after = nn.Sequential(first, second), second.weight.detach().clone()

    def damage() -> None:
        with untouched(model):
            second.weight.data.zero_()
            del vars(first)["_buffers"]

    with pytest.raises(TrainingFailed, match=r"1 of 7 parts .* could not be given back"):
        damage()
    assert torch.equal(second.weight, after)


def test_gradients_are_given_back_where_keeping_fails() -> None:
    """Such as by an optimizer that holds what cannot be copied."""
    model = nn.Linear(2, 2)
    model(SAMPLE).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["frames"] = (number for number in range(3))
    with pytest.raises(TypeError, match="generator"), untouched(model, optimizer):
        pass
    assert model.weight.grad is not None


def test_a_driver_that_cannot_be_asked_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML's errors are of no class that torch knows: on a part of a GPU, without its library."""

    class NVMLError(Exception):
        pass

    def utilization(device: torch.device) -> int:
        raise NVMLError("Not Supported")

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    assert training_step.utilization(torch.device("cuda")) is None


def test_libraries_run_out_of_memory_too() -> None:
    """They have memory of their own, and their own words for it."""
    no_memory = batch_size._no_memory
    assert no_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert no_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not no_memory(RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"))


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        ({"loss": torch.tensor(3.0)}, None, 3.0),
        (torch.full((2, 2), 2.0), None, 4.0),
        (torch.zeros(2, 3), torch.ones(2, 3), 1.0),
        (torch.zeros(2, 4), torch.tensor([1, 2]), 1.386294),
        (torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.long), 1.386294),
    ],
    ids=["its own", "no target", "difference", "classes", "sequence of classes"],
)
def test_the_usual_losses_are_known(output: Any, target: Any, expected: float) -> None:
    assert float(default_loss(output, target)) == pytest.approx(expected)


def test_what_cannot_be_is_refused_in_words() -> None:
    linear = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="3 and 4 samples"):
        find_optimal_batch_size(linear, (torch.ones(3, 2), torch.ones(4, 2)))
    with pytest.raises(UsageError, match="give loss="):
        find_optimal_batch_size(linear, (SAMPLE, torch.ones(3, 7)))
    with pytest.raises(UsageError, match="call it once"):
        find_optimal_batch_size(nn.LazyLinear(2), SAMPLE)
    with pytest.raises(UsageError, match="nothing to train"):
        find_optimal_batch_size(nn.Flatten(), SAMPLE)


def test_the_names_are_there_and_cost_no_import() -> None:
    assert hotlap.find_optimal_batch_size is find_optimal_batch_size
    assert hotlap.BatchSizeOptimizer is BatchSizeOptimizer
    code = "import sys, hotlap; assert 'torch' not in sys.modules and 'find_optimal_batch_size' in hotlap.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)
