"""The look at the memory of a step: exact where the truth is known, and without a trace in what is trained."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recordings import Recorded
from torch.utils.checkpoint import checkpoint

from hotlap.diagnose import diagnose
from hotlap.probe import graphs
from hotlap.probe.facts import Facts
from hotlap.probe.inputs import bytes_of
from hotlap.probe.memory import MemoryLook
from hotlap.probe.resident import Resident

FLOAT = 4


@pytest.fixture(autouse=True, scope="module")
def _cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where it is not set, an optimizer's first step sets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(autouse=True)
def _torch_is_as_it_was() -> Iterator[None]:
    """Nothing was compiled before in this process, and no wrapper of the look is left."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is not None:
        dynamo.counters.clear()
    before = torch.nn.Module.__call__, torch.Tensor.backward, torch.autograd.backward
    yield
    assert (torch.nn.Module.__call__, torch.Tensor.backward, torch.autograd.backward) == before


class Lines:
    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def line(self, kind: str, **fields: Any) -> None:
        self.written.append({"k": kind, **fields})


def look_at(*known: Any) -> MemoryLook:
    """A look at a training of which these modules and optimizers are known."""
    facts = Facts(torch)
    facts.values["device"] = "cpu"
    for each in known:
        if isinstance(each, torch.nn.Module):
            facts.module_called(each, training=True)
        else:
            facts.optimizer_begins(each)
    facts.forget_modules()
    record = SimpleNamespace(looked=set())
    recorder = SimpleNamespace(
        steps=7, facts=facts, record=record, resident=Resident(torch), depth=0, in_backward=False
    )
    return MemoryLook(torch, recorder)


def seen(look: MemoryLook, step: Callable[[], Any]) -> dict[str, Any]:
    look.begin()
    step()
    look.end()
    return dict(look.lines())["memory"]


def linear(inputs: int, outputs: int) -> int:
    return (inputs * outputs + outputs) * FLOAT


def test_every_category_of_a_known_network_is_exact() -> None:
    """Two linear layers, a ReLU, batch norm, Adam and a loss: each category to the byte."""
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.BatchNorm1d(256), torch.nn.Linear(256, 8)
    )
    optimizer = torch.optim.Adam(model.parameters())
    criterion = torch.nn.MSELoss()
    x, y = torch.randn(32, 64), torch.randn(32, 8)

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    step()
    account = seen(look_at(model, optimizer), step)
    weights = linear(64, 256) + linear(256, 8) + 2 * 256 * FLOAT
    assert account["parameters"] == account["gradients"] == weights
    assert account["buffers"] == 2 * 256 * FLOAT + 8
    # Two moments for each weight, and a count of steps for each of the six tensors.
    assert account["optimizer"] == 2 * weights + 6 * FLOAT
    assert account["inputs"] == (32 * 64 + 32 * 8) * FLOAT
    # Kept for backward: what ReLU and batch norm return, the mean and deviation of the latter, the output.
    assert account["activations"] == (2 * 32 * 256 + 2 * 256 + 32 * 8) * FLOAT
    assert list(account["moments"]) == ["before", "forward", "backward", "optimizer"]
    assert account["step"] == 7


def test_a_convolution_keeps_its_input_and_tied_weights_count_once() -> None:
    first, second = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)
    second.weight = first.weight
    model = torch.nn.Sequential(first, second)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(2, 8, 16, 16)

    def step() -> None:
        model(x).sum().backward()
        optimizer.step()

    step()
    account = seen(look_at(model, optimizer), step)
    weights = (8 * 8 * 9 + 2 * 8) * FLOAT
    assert (account["parameters"], account["gradients"], account["optimizer"]) == (weights, weights, weights)
    assert account["inputs"] == account["activations"] == 2 * 8 * 16 * 16 * FLOAT


def blocks(kind: bool | None) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    torch.manual_seed(0)
    layers = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Linear(32, 128), torch.nn.GELU(), torch.nn.Linear(128, 32)) for _ in range(4)
    )

    def forward(x: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            x = layer(x) if kind is None else checkpoint(layer, x, use_reentrant=kind)
        return x.square().mean()

    return layers, forward


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_lowers_activations(reentrant: bool) -> None:
    kept = {}
    for kind in (None, reentrant):
        layers, forward = blocks(kind)
        x = torch.randn(16, 32, requires_grad=True)
        look = look_at(torch.optim.SGD(layers.parameters(), lr=0.1))
        kept[kind] = seen(look, lambda forward=forward, x=x: forward(x).backward())["activations"]
    assert 0 < kept[reentrant] < kept[None] / 3


@pytest.mark.parametrize("kind", ["plain", "checkpoint", "reentrant", "in place", "view", "twice", "offloaded"])
def test_what_is_computed_does_not_change(kind: str) -> None:
    """Losses and weights are bit-identical, whatever autograd is asked to do."""

    def train(watched: bool) -> tuple[list[float], list[torch.Tensor]]:
        layers, forward = blocks({"checkpoint": False, "reentrant": True}.get(kind))
        optimizer = torch.optim.Adam(layers.parameters())
        look = look_at(layers, optimizer)
        losses = []
        for step in range(4):
            if watched and step in (1, 3):
                look.begin()
            x = torch.randn(16, 32, generator=torch.Generator().manual_seed(step)).requires_grad_()
            with torch.autograd.graph.save_on_cpu() if kind == "offloaded" else torch.enable_grad():
                loss = forward(x)
            if kind == "in place":
                loss = loss + (x * 2).add_(1).relu_().sum() * 1e-3
            elif kind == "view":
                loss = loss + layers[0][0].weight.view(-1)[:7].square().sum()
            elif kind == "twice":
                (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
                loss = loss + gradient.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if watched and step in (1, 3):
                look.end()
                assert look.account is not None
        return losses, [parameter.detach().clone() for parameter in layers.parameters()]

    (losses, weights), (same_losses, same_weights) = train(False), train(True)
    assert losses == same_losses
    assert all(map(torch.equal, weights, same_weights))


def test_nothing_of_the_step_is_kept() -> None:
    """Modules, inputs, outputs and the optimizer are free as soon as the script lets go of them."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters())
    look = look_at(model, optimizer)
    x = torch.randn(4, 8)
    look.begin()
    loss = model(x).sum()
    loss.backward()
    optimizer.step()
    look.end()
    kept = [weakref.ref(each) for each in (x, loss, model, optimizer, model[0].weight)]
    del x, loss, model, optimizer
    gc.collect()
    assert [each() for each in kept] == [None] * 5


def test_an_error_in_the_step_is_the_scripts_own() -> None:
    """It comes out as it is, and the look ends as usual."""
    model = torch.nn.Linear(4, 1)
    look = look_at(model)
    look.begin()
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        model(torch.randn(2, 3))
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.randn(()).backward()
    look.end()
    assert look.account is not None
    assert look.account["activations"] is None or look.account["activations"] == 0


def test_a_compiled_model_is_not_compiled_again() -> None:
    counters = pytest.importorskip("torch._dynamo.utils").counters
    torch._dynamo.reset()
    counters.clear()
    inner = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    model = torch.compile(inner, backend="aot_eager")
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        model(torch.randn(4, 8)).sum().backward()
        optimizer.step()

    for _ in range(2):
        step()
    before = dict(counters["stats"])
    account = seen(look_at(model, optimizer), step)
    step()
    assert dict(counters["stats"]) == before
    assert account["parameters"] == account["gradients"] == linear(8, 64) + linear(64, 1)
    # The input is among them: which call brought it cannot be seen without a wrapper that would compile again.
    assert 4 * 64 * FLOAT <= account["activations"] <= 3 * 4 * 64 * FLOAT
    torch._dynamo.reset()
    counters.clear()


def test_graphs_that_stay_are_counted() -> None:
    """A chain of losses is found by its nodes, a list of them by its tensors too."""
    weight = torch.ones(3, requires_grad=True)
    before = graphs.alive(torch)
    assert before is not None
    kept = [(weight * i).sum() for i in range(5)]
    chain = sum((weight * i).sum() for i in range(5))
    after = graphs.alive(torch)
    assert after is not None
    assert after[0] - before[0] == 6
    # Sum, product, for each; five additions; the weight's own node once.
    assert after[1] - before[1] == 5 * 2 + 5 * 2 + 5 + 1
    del kept, chain


def test_points_stay_few_over_a_million_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, lines = Resident(torch), Lines()
    monkeypatch.setattr(Resident, "now", lambda self: (1000, 10))
    for steps in range(0, 1_000_000, 16):
        resident.look(steps, lines)  # type: ignore[arg-type]
    taken = [line["i"] for line in lines.written]
    assert 1000 < len(taken) < 2500
    assert max(b - a for a, b in zip(taken[-50:], taken[-49:], strict=False)) < 10_000


def test_graphs_are_counted_sooner_where_memory_grows_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once at once, then as often as there is time for it: a count of 10 ms takes a quarter of a percent of 4 s."""
    now, lines = [0], Lines()

    def alive(torch: Any) -> tuple[int, int]:
        now[0] += 10_000_000
        return 1, 2

    monkeypatch.setattr(graphs, "alive", alive)

    def counted(a_step: int) -> list[int]:
        resident, lines.written = Resident(torch, lambda: now[0]), []
        monkeypatch.setattr(Resident, "now", lambda self: (a_step * steps, 0))
        for steps in range(200):
            now[0] += 250_000_000
            if steps == 10:
                resident.alive(steps)
            resident.look(steps, lines)  # type: ignore[arg-type]
        return [line["i"] for line in lines.written if line["k"] == "graphs"]

    assert counted(25 << 20) == [13, 32, 48, 64, 80, 96]
    assert counted(1 << 20) == [41, 73, 105, 137, 169]
    assert counted(1 << 16) == []


def test_inputs_are_sized_without_what_a_module_computed() -> None:
    x = torch.zeros(4, 8)
    computed = torch.nn.Linear(8, 8)(x)
    assert bytes_of(torch, ((x,), {"mask": {"of": [x.bool()]}})) == 4 * 8 * 5
    assert bytes_of(torch, ((x, computed), {})) == 4 * 8 * 4
    assert bytes_of(torch, ((x.clone().requires_grad_(),), {})) == 4 * 8 * 4
    assert bytes_of(torch, ((computed, 3, "text"), {})) is None


@pytest.mark.parametrize("kind", ["nothing", "losses", "sum", "plain", "cache"])
def test_what_a_script_keeps_is_named(kind: str, record: Callable[..., Recorded]) -> None:
    """Kept graphs and kept memory are told apart; a healthy run and a cache that has filled say nothing."""
    expected = {"losses": {"MEMORY02"}, "sum": {"MEMORY02"}, "plain": {"MEMORY03"}}.get(kind, set())
    found = record("keeping", kind, "6000" if kind == "nothing" else "1500")
    diagnosis = diagnose(found.run)
    codes = {finding.code for finding in diagnosis.findings}
    assert codes & {f"MEMORY{i:02}" for i in range(2, 10)} == expected, diagnosis.memory
    if kind == "losses":
        (finding,) = (finding for finding in diagnosis.findings if finding.code == "MEMORY02")
        assert "1 tensor with a graph" in finding.evidence[0]
    if kind == "plain":
        growth = diagnosis.memory.growth
        assert growth is not None
        assert growth.slope == pytest.approx(64_000, rel=0.2)
    assert {point.inputs for point in found.run.memory.points} <= {8 * 16 * FLOAT, None}
    assert sum(point.inputs is not None for point in found.run.memory.points) > 0.8 * len(found.run.memory.points)
    assert diagnosis.memory.peak is not None
    # The process is looked at from outside once a second, which a short training may be over before.
    assert kind != "nothing" or diagnosis.memory.trainer is not None
    assert found.told is not None
    assert [step.loss for step in found.run.steps] == [step["loss"] for step in found.told.steps]


def test_the_memory_of_workers_is_seen_from_outside(record: Callable[..., Recorded]) -> None:
    """Each worker of the loader is a process of its own, with its own memory."""
    report = diagnose(record("fed_by_workers").run).memory
    assert report.workers == 2
    assert 0 < report.workers_uss <= report.workers_pss <= report.workers_rss


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_after_the_forward() -> None:
    """What is allocated is told from torch's allocator, and its counters are not reset."""
    model = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU()) for _ in range(8)))
    model.cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8192, 512, device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step()
    before = torch.cuda.max_memory_allocated()
    look = look_at(model, optimizer)
    look.recorder.facts.values["device"] = "cuda"
    account = seen(look, step)
    assert max(account["moments"], key=account["moments"].__getitem__) == "forward"
    assert account["parameters"] == 8 * linear(512, 512)
    assert account["inputs"] == 8192 * 512 * FLOAT
    assert account["activations"] >= 8 * 8192 * 512 * FLOAT
    assert account["retries"] == account["first_retries"] == 0
    assert torch.cuda.max_memory_allocated() >= before
