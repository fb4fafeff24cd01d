"""Where the time of a step goes in a model, on a clock that only the modules move: every figure is exact."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo  # sets a variable of the environment, which the tests compare
from torch.compiler import is_dynamo_compiling
from torch.utils.checkpoint import checkpoint

from hotlap.probe import stages
from hotlap.probe.stages import Stages


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


class Takes(torch.autograd.Function):
    """Hands its input on, in so many seconds forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Any, forward: float, backward: float) -> Any:
        ctx.backward_seconds = backward
        ctx.save_for_backward(x)
        CLOCK.now += forward
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        CLOCK.now += ctx.backward_seconds
        return gradient * 1.0, None, None


class Work(torch.nn.Module):
    """One module that takes a known time, with a parameter so that it always has a backward."""

    def __init__(self, forward: float, backward: float = 0.0) -> None:
        super().__init__()
        self.seconds = forward, backward
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x: Any) -> Any:
        return Takes.apply(x * self.weight, *self.seconds)


class Net(torch.nn.Module):
    """Modules with work of their own around and between them."""

    def __init__(self, body: Callable[[Any, Any], Any], **modules: torch.nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.body = body

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stages]:
    """One that sees the calls of modules as the probe's wrapper shows them to it."""
    call, engine, compiling = torch.nn.Module.__call__, torch.autograd._engine_run_backward, is_dynamo_compiling
    look = Stages(torch, CLOCK)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if not compiling() and look.deepest:
            return look.follow(call, self, args, kwargs)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__call__", __call__)
    yield look
    assert torch.autograd._engine_run_backward is engine
    assert not look.deepest
    assert look.step is None


def watched(look: Stages, step: Callable[[], Any], times: int = 1) -> dict[str, Any]:
    for _ in range(times):
        look.begin()
        try:
            step()
        finally:
            look.end()
    return dict(look.lines())["stages"]


def table(line: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """Full place in the nesting -> calls, forward, backward, recompute."""
    found = {}
    for stage in line["stages"]:
        path, parent = stage["path"], stage["parent"]
        while parent is not None:
            path, parent = f"{line['stages'][parent]['path']} > {path}", line["stages"][parent]["parent"]
        assert path not in found
        found[path] = (stage["calls"], stage["forward"], stage["backward"], stage["recompute"])
    return found


def data(gradient: bool = False) -> Any:
    return torch.ones(2, 3, requires_grad=gradient)


def work(x: Any, forward: float, backward: float) -> Any:
    return Takes.apply(x, forward, backward)


def test_self_times_of_nested_modules_partition_forward_and_backward(look: Stages) -> None:
    inner = Net(lambda net, x: work(net.b(work(net.a(x), 1, 2)), 4, 8), a=Work(16, 32), b=Work(64, 128))
    outer = Net(lambda net, x: work(net.last(work(net.inner(x), 256, 512)), 1024, 2048), inner=inner, last=Work(5, 7))
    line = watched(look, lambda: work(outer(data()), 0, 4096).sum().backward())
    assert table(line) == {
        "Net": (1, 1280, 2560, 0),
        "Net > inner": (1, 5, 10, 0),
        "Net > inner > inner.a": (1, 16, 32, 0),
        "Net > inner > inner.b": (1, 64, 128, 0),
        "Net > last": (1, 5, 7, 0),
    }
    assert line["outside"] == 4096
    assert line["steps"] == 1


def test_branches_residuals_and_results_that_no_module_takes_are_their_owners(look: Stages) -> None:
    """``skip`` is made in Net and goes around ``c``; its backward comes between those of ``c`` and ``a``."""

    def body(net: Any, x: Any) -> Any:
        a = net.a(x)
        skip = work(a, 1, 100)
        return skip + net.c(a) + a

    line = watched(look, lambda: Net(body, a=Work(2, 3), c=Work(4, 5))(data()).sum().backward())
    assert table(line) == {"Net": (1, 1, 100, 0), "Net > a": (1, 2, 3, 0), "Net > c": (1, 4, 5, 0)}


def test_a_module_that_is_called_twice_is_one_stage(look: Stages) -> None:
    line = watched(look, lambda: Net(lambda net, x: net.a(net.a(x)), a=Work(2, 3))(data()).sum().backward())
    assert table(line) == {"Net": (1, 0, 0, 0), "Net > a": (2, 4, 6, 0)}


class Several(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return {"one": (work(x, 1, 2), [x]), "two": work(x, 4, 8)}


class InPlace(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        y = work(x, 1, 2)
        y.mul_(2)
        y[0].add_(1)
        return y.view(-1)


def test_operators_are_counted_by_their_autograd_nodes(look: Stages) -> None:
    """Of a module all its calls together: two a call, the product and what takes the time. Constants make none."""
    net = Net(lambda net, x: net.b(net.a(net.a(x))) + 1.0, a=Work(1.0), b=Work(2.0))
    stages = watched(look, lambda: net(torch.ones(3)).sum().backward(), times=2)["stages"]
    assert {stage["path"]: stage["nodes"] for stage in stages} == {"Net": 1, "a": 4, "b": 2}


def test_dictionaries_views_and_changes_in_place(look: Stages) -> None:
    def body(net: Any, x: Any) -> Any:
        found = net.several(net.same(x))
        return net.inplace(found["one"][0] + found["two"]).sum() + found["one"][1][0].sum()

    net = Net(body, same=torch.nn.Identity(), several=Several(), inplace=InPlace())
    line = watched(look, lambda: net(data(True)).backward())
    assert table(line) == {
        "Net": (1, 0, 0, 0),
        "Net > same": (1, 0, 0, 0),
        "Net > several": (1, 5, 10, 0),
        "Net > inplace": (1, 1, 2, 0),
    }


def test_frozen_parts_and_teachers_without_gradient_have_no_backward_but_belong_to_the_step(look: Stages) -> None:
    frozen = Work(2, 99)
    frozen.weight.requires_grad_(False)
    student, teacher = Net(lambda net, x: net.b(net.a(x)), a=frozen, b=Work(4, 8)), Work(16, 99)

    def step() -> None:
        with torch.no_grad():
            wanted = teacher(data())
        (student(data()) - wanted).sum().backward()

    assert table(watched(look, step)) == {
        "Work": (1, 16, 0, 0),
        "Net": (1, 0, 0, 0),
        "Net > a": (1, 2, 0, 0),
        "Net > b": (1, 4, 8, 0),
    }


def test_validation_after_the_last_backward_is_left_out(look: Stages) -> None:
    net = Net(lambda net, x: net.a(x), a=Work(1, 2))

    def step() -> None:
        net(data()).sum().backward()
        with torch.no_grad():
            for _ in range(5):
                net.eval()(data())
            Net(lambda net, x: net.b(x), b=Work(1, 2))(data())

    assert table(watched(look, step)) == {"Net": (1, 0, 0, 0), "Net > a": (1, 1, 2, 0)}


def test_a_teacher_that_sees_the_next_input_first_belongs_to_the_step(look: Stages) -> None:
    """The step is watched from its first training work on, so the teacher's call of the step after stands for its."""
    net, teacher, other = Work(1, 2), Net(lambda net, x: net.a(x), a=Work(4, 99)), Work(8, 99)

    def step() -> None:
        net(data()).sum().backward()
        CLOCK.now += 1
        with torch.no_grad():
            other.eval()(data())
            CLOCK.now += 1
            now = CLOCK.now
            look.boundary = lambda: now
            teacher(data())

    assert table(watched(look, step)) == {"Work": (1, 1, 2, 0), "Net": (1, 0, 0, 0), "Net > a": (1, 4, 0, 0)}


def test_a_step_that_ends_in_the_middle_of_what_is_watched(look: Stages) -> None:
    """Without a loader a step is known to have ended when the optimizer steps again."""
    net, other = Work(1, 2), Work(8, 99)

    def step() -> None:
        with torch.no_grad():
            other(data())
        CLOCK.now += 1
        now = CLOCK.now
        look.boundary = lambda: now
        net(data()).sum().backward()

    assert [stage["forward"] for stage in watched(look, step)["stages"]] == [1]


def test_two_models_of_a_class_and_several_backwards(look: Stages) -> None:
    generator = Net(lambda net, x: net.a(x), a=Work(1, 2))
    critic = Net(lambda net, x: net.a(x), a=Work(10, 20))

    def step() -> None:
        fake = generator(data())
        (critic(fake.detach()) - critic(data())).sum().backward()
        critic(fake).sum().backward()

    assert table(watched(look, step)) == {
        "Net": (1, 0, 0, 0),
        "Net > a": (1, 1, 2, 0),
        "Net 2": (3, 0, 0, 0),
        "Net 2 > a": (3, 30, 60, 0),
    }


def test_a_graph_that_is_kept_and_gradients_of_gradients(look: Stages) -> None:
    net = Net(lambda net, x: net.a(x), a=Work(1, 2))

    def step() -> None:
        x = data(True)
        loss = net(x).sum()
        loss.backward(retain_graph=True)
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        (slope**2).sum().backward()

    assert table(watched(look, step))["Net > a"] == (1, 1, 4, 0)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_is_apart_from_backward(look: Stages, reentrant: bool) -> None:
    def block(seconds: float) -> Net:
        return Net(lambda net, x: work(net.a(x), seconds, 10 * seconds), a=Work(3, 5))

    def body(net: Any, x: Any) -> Any:
        for child in (net.one, net.two):
            x = checkpoint(child, x, use_reentrant=reentrant)
        return work(x, 7, 11)

    net = Net(body, one=block(1), two=block(2))
    line = watched(look, lambda: net(data(True)).sum().backward())
    found = table(line)
    assert found["Net"] == (1, 7, 11, 0)
    assert found["Net > one"][:3] == (1, 1, 10)
    assert found["Net > two"][:3] == (1, 2, 20)
    assert found["Net > one > one.a"] == found["Net > two > two.a"] == (1, 3, 5, 3)
    # Without reentrance the recomputation stops once everything that was asked for is there again.
    assert found["Net > one"][3] + found["Net > two"][3] in ((3,) if reentrant else (0, 3))
    assert line["outside"] == 0


def test_a_checkpoint_inside_a_checkpoint(look: Stages) -> None:
    inner = Net(lambda net, x: checkpoint(net.a, x, use_reentrant=False), a=Work(1, 2))
    net = Net(lambda net, x: checkpoint(net.inner, x, use_reentrant=False), inner=inner)
    found = table(watched(look, lambda: net(data(True)).sum().backward()))
    assert found["Net > inner > inner.a"][:3] == (1, 1, 2)
    assert found["Net > inner > inner.a"][3] in (1, 2)
    assert set(found) == {"Net", "Net > inner", "Net > inner > inner.a"}


def test_an_error_in_the_step_reaches_the_script_and_leaves_nothing_behind(look: Stages) -> None:
    def body(net: Any, x: Any) -> Any:
        net.a(x)
        raise RuntimeError("the script's own")

    look.begin()
    with pytest.raises(RuntimeError, match="the script's own"):
        Net(body, a=Work(1, 2))(data())
    look.end()
    assert look.lines() == []


def test_medians_over_the_steps_and_a_line_only_when_there_is_something_new(look: Stages) -> None:
    a = Work(1, 2)
    net = Net(lambda net, x: net.a(x), a=a)
    look.boundary = lambda: 1e9  # not the end of the training
    for seconds in (1, 100, 3):
        a.seconds = seconds, 2 * seconds
        look.begin()
        net(data()).sum().backward()
        look.end()
    [(kind, line)] = look.lines()
    assert kind == "stages"
    assert table(line)["Net > a"] == (1, 3, 6, 0)
    assert look.lines() == []


def test_a_loss_module_and_a_model_that_returns_one_number_are_the_loss(look: Stages) -> None:
    net, loss = Work(1, 2), Net(lambda net, x: net.a(x).sum(), a=Work(4, 8))

    def step() -> None:
        (loss(net(data())) + torch.nn.MSELoss()(net(data()), data())).backward()

    phases = {stage["path"]: stage["phase"] for stage in watched(look, step)["stages"]}
    assert phases == {"Work": "forward", "Net": "loss", "a": "loss", "MSELoss": "loss"}


def test_with_too_many_calls_the_deepest_levels_are_no_longer_told_apart(
    look: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "CALLS_AT_MOST", 20)
    block = {f"b{i}": Net(lambda net, x: net.a(net.a(x)), a=Work(1, 2)) for i in range(7)}

    def body(net: Any, x: Any) -> Any:
        for child in net.children():
            x = checkpoint(child, x, use_reentrant=False)
        return x

    line = watched(look, lambda: Net(body, **block)(data(True)).sum().backward(), times=2)
    assert (line["steps"], line["levels"]) == (1, 2)
    found = table(line)
    assert len(found) == 8
    assert found["Net > b3"] == (1, 2, 4, 2)


def test_no_module_outlives_the_look(look: Stages) -> None:
    net = Net(lambda net, x: checkpoint(net.a, x, use_reentrant=True), a=Work(1, 2))
    gone = weakref.ref(net)
    look.begin()
    loss = net(data(True)).sum()
    loss.backward()
    look.end()
    del net, loss
    gc.collect()
    assert gone() is None


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_models_are_one_stage_and_are_not_compiled_again(look: Stages) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()

    def made(gradient: bool) -> Net:
        body = lambda net, x: torch.relu(net.b(torch.relu(net.a(x))))  # noqa: E731
        return Net(body, a=torch.nn.Linear(3, 3), b=torch.nn.Linear(3, 3))

    whole, in_place = torch.compile(made(True), backend="eager"), made(True)
    in_place.compile(backend="eager")
    broken = made(True)
    broken.body = lambda net, x: net.b((net.a(x), torch._dynamo.graph_break())[0])
    broken = torch.compile(broken, backend="eager")
    outer = Net(lambda net, x: net.whole(x) + net.in_place(x) + net.broken(x), whole=whole, in_place=in_place)
    outer.add_module("broken", broken)

    def step() -> Any:
        loss = outer(data()).sum()
        loss.backward()
        return loss.item()

    losses, graphs = [], []
    for watch in (False, False, True, False, True, False):
        if watch:
            look.begin()
        losses.append(step())
        if watch:
            look.end()
        graphs.append(counters["stats"]["unique_graphs"])
    assert counters["graph_break"]
    assert graphs[0] == graphs[-1] >= 4
    assert len(set(losses)) == 1
    paths = set(table(dict(look.lines())["stages"]))
    assert paths == {"Net", "Net > whole", "Net > in_place", "Net > broken"}


def test_compiling_while_a_step_is_watched_holds_afterwards(look: Stages) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    net = Net(lambda net, x: torch.relu(net.a(x)), a=torch.nn.Linear(3, 3))
    compiled = torch.compile(net, backend="eager")
    for watch in (True, False, True, False):
        if watch:
            look.begin()
        compiled(data()).sum().backward()
        if watch:
            look.end()
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


class Event:
    """Stands in for the device's own: it runs twice as slow as the host, and is done when told so."""

    done = False

    def record(self) -> None:
        self.at = CLOCK.now * 2e3

    def query(self) -> bool:
        return Event.done

    def elapsed_time(self, later: Event) -> float:
        return later.at - self.at


def test_a_device_s_time_is_read_when_its_events_are_over(look: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    look.event = Event
    net = Net(lambda net, x: work(net.a(x), 1, 2), a=Work(4, 8))
    look.begin()
    work(net(data()), 0, 16).sum().backward()
    look.end()
    [(_, line)] = look.lines()
    assert "device_forward" not in line["stages"][0]
    monkeypatch.setattr(Event, "done", True)
    [(_, line)] = look.lines()
    assert [stage["device_forward"] for stage in line["stages"]] == [2, 8]
    assert [stage["device_backward"] for stage in line["stages"]] == [4, 16]
    assert line["device_outside"] == 32
    assert look.pool


@pytest.mark.gpu
def test_a_gpu_s_time_by_stage(look: Stages) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 4096)).cuda()
    for _ in range(3):
        look.begin()
        net(torch.randn(64, 64, device="cuda")).sum().backward()
        look.end()
    torch.cuda.synchronize()
    [(_, line)] = look.lines()
    for stage in line["stages"]:
        assert stage["device_forward"] >= 0
        assert stage["device_backward"] >= 0
    assert sum(stage["device_backward"] for stage in line["stages"]) > 0
