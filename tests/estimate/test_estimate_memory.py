"""The estimate of a training's memory: sums, the moment of the peak, who holds it, and what cannot be estimated."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
import torch
from torch import Tensor, nn

import hotlap
from hotlap.errors import HotlapError
from hotlap.estimate.allocator import MIB
from hotlap.estimate.memory import Step, estimate, training
from hotlap.records import MemoryEstimate


class Stack(nn.Module):
    def __init__(self, *, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU()) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def stack(*, width: int = 1024, batch: int = 1024, layers: int = 4) -> Step:
    model = Stack(width=width, layers=layers)
    return training(model, torch.optim.Adam(model.parameters()), [torch.randn(batch, width)], Tensor.sum)


def test_sizes_that_are_counted_by_hand() -> None:
    """Every tensor here is 4 MiB: five segments of 20 MiB hold what lives at the peak."""
    known = estimate(stack)
    assert known.requested == sum(known.categories.values())
    assert known.categories["parameter"] == 4 * 4 * MIB
    assert known.categories["optimizer"] == 2 * 4 * 4 * MIB
    assert known.categories["gradient"] == 4 * 4 * MIB
    assert known.categories["input"] == 4 * MIB
    # 4 parameters, 8 moments, 4 gradients, the input, the last output, and 4 roots of the second moment at once.
    assert known.allocated // MIB == (4 + 8 + 4 + 1 + 1 + 4) * 4
    assert known.moment.phase == "optimizer"
    assert known.reserved is not None
    assert known.reserved % (2 * MIB) == 0
    assert known.reserved >= known.allocated


def test_holders_are_modules() -> None:
    """With a large batch the peak is in the first moments of backward, held by the layers' outputs."""
    known = estimate(lambda: stack(width=256, batch=2**14))
    assert known.moment.phase == "backward"
    size = 256 * 2**14 * 4
    held = {f"Stack.layers.{number}.1": size for number in range(4)}
    assert {name: known.holders[name] for name in held} == held


def test_activations_grow_with_the_batch_alone() -> None:
    """Twice the batch has twice the activations and the same parameters."""
    one, two = (estimate(lambda size=size: stack(width=64, batch=size)) for size in (2**12, 2**13))
    assert two.categories["activation"] == pytest.approx(2 * one.categories["activation"], rel=1e-3)
    assert two.categories["parameter"] == one.categories["parameter"]


def test_on_the_cpu_nothing_is_rounded() -> None:
    """There the peak is what tensors ask for, and no context or workspace is added."""
    known = estimate(lambda: stack(width=3, batch=5), device="cpu")
    assert known.allocated == known.requested
    assert known.reserved is None
    assert known.total == (known.allocated,) * 3


def test_allowances_are_lines_of_their_own() -> None:
    """Context and workspace are no part of what tensors need; each says where its number is from."""
    known = estimate(lambda: stack(width=8, batch=8), capability=(8, 9))
    assert {each.name for each in known.allowances} >= {"workspace of cuBLAS"}
    assert all(each.least <= each.likely <= each.most and each.source for each in known.allowances)
    cublas = next(each for each in known.allowances if "cuBLAS" in each.name)
    assert cublas.likely == 2 * 8519680
    least, likely, most = known.total
    assert known.reserved is not None
    assert known.reserved < least < likely < most


def test_is_a_record() -> None:
    """It survives being written and read."""
    known = estimate(lambda: stack(width=8, batch=8))
    assert msgspec.json.decode(msgspec.json.encode(known), type=MemoryEstimate) == known


class AsksForValue(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out * 2 if out.sum().item() > 0 else out


class ShapeOfValues(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out[out > 0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (AsksForValue, r"aten::_local_scalar_dense asks for the value .* leave .item\(\)"),
        (ShapeOfValues, r"aten::nonzero gives depends on values"),
    ],
)
def test_what_depends_on_values_is_refused(kind: type[nn.Linear], message: str) -> None:
    """The error names the operator and what to do."""

    def build() -> Step:
        model = kind(4, 4)
        return training(model, torch.optim.SGD(model.parameters()), [torch.randn(2, 4)], Tensor.sum)

    with pytest.raises(HotlapError, match=message):
        estimate(build)


class UsesNumpy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(x.detach().numpy().mean())


class NeedsGpu(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to("cuda"))


class MixesDevices(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.ones(4, device="cuda")


class Sparse(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(torch.eye(len(x)).to_sparse(), super().forward(x))


class Pins(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.ones(4).pin_memory()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (UsesNumpy, "given to numpy"),
        (Sparse, "sparse tensors cannot be imitated"),
        (Pins, "torch cannot imitate pin_memory: leave it out"),
        (MixesDevices, "make everything on the CPU"),
        pytest.param(
            NeedsGpu,
            "make everything on the CPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_what_needs_memory_or_a_gpu_is_refused(kind: type[nn.Linear], message: str) -> None:
    """In a sentence that says what to do instead."""

    def build() -> Step:
        model = kind(4, 4)
        return training(model, torch.optim.SGD(model.parameters()), [torch.randn(2, 4)], Tensor.sum)

    with pytest.raises(HotlapError, match=message):
        estimate(build)


def test_is_a_function_of_the_package() -> None:
    """hotlap.estimate_memory, for a training of one's own."""
    known = hotlap.estimate_memory(lambda: stack(width=8, batch=8), capability=(9, 0))
    assert known.device == "cuda"
    assert known.reserved is not None


@pytest.mark.parametrize("device", ["CPU", "CUDA"])
def test_unknown_operator_is_refused(device: str) -> None:
    """An operator of somebody's own, of which torch does not know what it gives, is named; be it for CUDA alone."""
    with torch.library._scoped_library("hotlap_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, device)
        with pytest.raises(HotlapError, match=r"register_fake\(\"hotlap_test::twice\"\)"):
            estimate(lambda: lambda: torch.ops.hotlap_test.twice(torch.ones(3)))


@pytest.mark.filterwarnings("ignore")
def test_what_is_compiled_is_gone_through_as_it_stands() -> None:
    """Compilers do not take imitated tensors; the estimate is that of the model itself."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def build(call: Callable[[Tensor], Tensor]) -> Step:
        return lambda: call(torch.ones(4, 8)).sum().backward()

    assert (
        estimate(lambda: build(torch.compile(model, backend="eager"))).allocated
        == estimate(lambda: build(model)).allocated
    )


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(HotlapError, match="None is no step"):
        estimate(lambda: None)  # type: ignore[arg-type, return-value]  # as somebody forgot to return it


def test_a_gradient_scaler_is_answered() -> None:
    """It asks how many gradients overflowed: none, so that the optimizer steps and has its state."""

    def build() -> Step:
        model = nn.Linear(4, 4)
        optimizer = torch.optim.Adam(model.parameters())
        scaler = torch.amp.GradScaler("cpu")

        def step() -> None:
            scaler.scale(model(torch.randn(2, 4)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

        return step

    assert estimate(build).categories["optimizer"] == 2 * (4 * 4 + 4) * 4
