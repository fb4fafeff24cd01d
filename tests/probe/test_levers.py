"""Each lever takes effect in a script that knows nothing of it, or says why it does not."""

from __future__ import annotations

import platform

import pytest
from recordings import Pull

_LOADERS = """
class Stream(IterableDataset):
    def __iter__(self): return iter([torch.ones(4)] * 3)
class Mine(DataLoader):
    def __init__(self, data): super().__init__(data, 6)
def keyword(): return DataLoader(Data(), batch_size=4, shuffle=True)
def positional(): return DataLoader(Data(), 4, True, None, None, 2, None, False, False, 30.0)
def already(): return DataLoader(Data(), 4, num_workers=2, prefetch_factor=4, persistent_workers=True,
                                 multiprocessing_context="fork")
def stream(): return DataLoader(Stream(), batch_size=None)
def mine(): return Mine(Data())
if __name__ == "__main__":
    for make in (keyword, positional, already, stream, mine):
        loader = make()
        seen[make.__name__] = [loader.num_workers, loader.prefetch_factor, loader.persistent_workers, loader.pin_memory]
        seen[make.__name__] += [sum(1 for _ in loader)]
    try: DataLoader(Data(), colour="red")
    except TypeError as error: seen["wrong"] = str(error)
    network()(torch.ones(4)).sum().backward()
"""


def test_loader(pull: Pull) -> None:
    """Workers and what belongs to them reach every loader, however it is made, but for iterable datasets."""
    levers = {"workers": 1, "prefetch_factor": 3, "persistent_workers": True}
    seen, run = pull(_LOADERS, levers)
    for name in ("keyword", "positional", "already", "mine"):
        assert seen[name][:3] == [1, 3, True], name
    assert seen["stream"] == [0, None, False, False, 3]
    assert (seen["keyword"][4], seen["mine"][4]) == (3, 2)
    assert "colour" in seen["wrong"]
    assert run.notes == ["workers was not applied: every worker of an IterableDataset would yield all of it"]


def test_no_workers(pull: Pull) -> None:
    """Taking the workers away takes away what only makes sense with them, and notes what cannot be."""
    seen, run = pull(_LOADERS, {"workers": 0, "prefetch_factor": 2})
    for name in ("keyword", "positional", "already"):
        assert seen[name] == [0, None, False, False, 3], name
    assert run.notes == [
        "prefetch_factor was not applied: the script made no DataLoader with workers",
        "workers was not applied: every worker of an IterableDataset would yield all of it",
    ]


_AUTOCAST = """
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.layers = network(); self.dtypes = []
    def forward(self, x, fail=False):
        if fail: raise ValueError("fail")
        y = self.layers(x); self.dtypes.append(str(y.dtype)); return y
def on(): return torch.is_autocast_enabled("cpu")
net, other, x, y = Net(), Net(), torch.randn(6, 4), torch.randn(6, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def step():
    out = net(x); inside = [on()]
    loss = nn.functional.mse_loss(out, y); product = x @ x.T
    out.register_hook(lambda grad: inside.append(on()))
    loss.backward(); inside.append(on()); optimizer.step(); optimizer.zero_grad()
    return inside + [str(product.dtype)]
seen["step"] = step()
with torch.no_grad(): net.eval(); net(x); net.train()
seen["after validation"] = on()
net(x)
with torch.no_grad(): other(x)
seen["validation in between"] = on()
grads = torch.autograd.grad(other(x).sum(), list(other.parameters()))
seen["gradients after a forward without them"] = [float(g.abs().sum()) > 0 for g in grads]
try: net(x, fail=True)
except ValueError as error:
    seen["after an error"] = on()
    net(x); seen["handled"] = on()
optimizer.step(); seen["after a step without backward"] = on()
net(x); next(iter(DataLoader(Data()))); seen["at the next batch"] = on()
nn.MSELoss()(x, x); seen["a loss alone"] = on(); x.clone().requires_grad_().sum().backward()
with torch.autocast("cpu", enabled=False):
    loss = net(x).sum()
loss.backward(); seen["off in the script"] = on()
# Two networks against each other, each with its step.
fake = net(x).detach().repeat(1, 4)
(other(fake).mean() - other(x).mean()).backward(); seen["adversary"] = on()
other(net(x).repeat(1, 4)).mean().backward(); optimizer.step(); seen["generator"] = on()
seen["dtypes"] = sorted({*net.dtypes, *other.dtypes}); seen["weights"] = str(net.layers[0].weight.grad.dtype)
"""


def test_autocast(pull: Pull) -> None:
    """Forward, loss and validation run in bfloat16, backward and all else outside; it is never left open."""
    seen, run = pull(_AUTOCAST, {"autocast": "bfloat16"})
    assert seen["step"] == [True, False, False, "torch.bfloat16"]
    assert seen["gradients after a forward without them"] == [True] * 4
    assert seen["dtypes"] == ["torch.bfloat16"]
    assert seen["weights"] == "torch.float32"
    assert {name: seen[name] for name in seen if seen[name] is True} == {
        "validation in between": True,
        "handled": True,
        "a loss alone": True,
    }
    assert not any(seen[name] for name in ("after validation", "after an error", "at the next batch", "generator"))
    assert run.notes == []


_OWN = """
model, x = torch.compile(network(), backend="eager"), torch.randn(6, 4)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
for step in range(3):
    with torch.autocast("cpu", dtype=torch.float16):
        out = model(x); seen["dtype"] = str(out.dtype); loss = out.float().pow(2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step(lambda: loss)
"""


def test_left_alone(pull: Pull) -> None:
    """What the script does itself stays, and every lever that finds nothing to pull says so."""
    levers = {
        "autocast": "bfloat16",
        "compile": "default",
        "channels_last": True,
        "fused": True,
        "checkpointing": "off",
        "workers": 2,
        "pin_memory": True,
    }
    seen, run = pull(_OWN, levers)
    assert seen["dtype"] == "torch.float16"
    assert sorted(run.notes) == [
        "autocast was not applied: no model was called outside the script's own autocast",
        "channels_last was not applied: no model with two-dimensional convolutions was trained",
        "checkpointing was not applied: the script checkpoints no activations",
        "compile was not applied: the script compiles its model itself",
        "fused was not applied: the optimizer LBFGS has no fused implementation",
        "pin_memory was not applied: the script made no DataLoader",
        "workers was not applied: the script made no DataLoader",
    ]


_LAYOUT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv3d(1, 1, 1)
        self.position = nn.Parameter(torch.ones(1, 8, 6, 6))
        self.first.register_forward_hook(self.look)
    def look(self, module, args, out):
        tensors = (*args, out, module.weight)
        seen.setdefault("layouts", []).extend(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)
    def forward(self, x): return (self.first(x) + self.position).mean()
model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
# As after resuming: the state has the layout that it was saved with.
optimizer.load_state_dict({"param_groups": optimizer.state_dict()["param_groups"], "state": {
    i: {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.ones_like(p)}
    for i, p in enumerate(model.parameters())}})
scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
real, calls = torch._fused_adamw_, []
def fused(*args, **kwargs): calls.append(kwargs.get("grad_scale") is not None); return real(*args, **kwargs)
torch._fused_adamw_ = fused
for step in range(3):
    x = torch.randn(2, 3, 8, 8)
    scaler.scale(model(x=x) if step == 2 else model(x)).backward(); scaler.step(optimizer); scaler.update()
    optimizer.zero_grad()
group = optimizer.param_groups[0]
seen["group"] = [group["fused"], group["foreach"]]
seen["steps"] = sorted({float(state["step"]) for state in optimizer.state.values()})
seen["state"] = all(s["exp_avg"].stride() == p.stride() for p, s in optimizer.state.items())
seen["position"] = model.position.is_contiguous()
seen["fused calls"] = calls
plain = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
plain.param_groups[0]["params"][0].grad = torch.ones(2); plain.step()
seen["sgd"] = [plain.param_groups[0]["fused"], plain.param_groups[0]["params"][0].tolist()]
rprop = torch.optim.Rprop([torch.ones(2, requires_grad=True)]); rprop.step()
"""


def test_layout_and_fused(pull: Pull) -> None:
    """Convolutions and their input change layout, the optimizer's step is the fused one, under a scaler too."""
    seen, run = pull(_LAYOUT, {"channels_last": True, "fused": True})
    assert seen["layouts"] == [True] * 9
    assert seen["position"] is True
    assert max(seen["steps"]) == 4.0
    assert seen["group"] == [True, False]
    assert seen["state"] is True
    # The first step finds the gradients unscaled; from then on the fused step does it.
    assert seen["fused calls"] == [False, True, True]
    assert seen["sgd"] == [True, [0.0, 0.0]]
    assert run.notes == ["fused was not applied: the optimizer Rprop has no fused implementation"]


_FOREACH = """
model, x = network(), torch.randn(6, 4)
optimizer = torch.optim.Adam(model.parameters())
import torch.optim.adam as adam
real = adam._multi_tensor_adam
adam._multi_tensor_adam = lambda *a, **k: (seen.__setitem__("multi", seen.get("multi", 0) + 1), real(*a, **k))[1]
for step in range(3):
    model(x).sum().backward(); optimizer.step()
    optimizer.load_state_dict(torch.optim.Adam.state_dict(optimizer) | {"param_groups": [
        optimizer.state_dict()["param_groups"][0] | {"foreach": None, "fused": None}]})
"""


def test_foreach(pull: Pull) -> None:
    """The multi-tensor step is really used, also after the script has loaded a state with flags of its own."""
    assert pull(_FOREACH, {"foreach": True})[0] == {"multi": 3}
    assert pull(_FOREACH, {"foreach": False}, name="off")[0] == {}


_CHECKPOINTING = """
model, x, calls = network(), torch.randn(6, 4), []
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def block(x): calls.append(1); return nn.functional.dropout(model(x))
for step in range(4):
    loss = checkpoint(block, x, use_reentrant=False, preserve_rng_state=True).pow(2).mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
seen["calls"] = len(calls)
"""


def test_checkpointing_off(pull: Pull) -> None:
    """Without checkpointing nothing is computed twice, and the losses are the same bit by bit."""
    seen, with_it = pull(_CHECKPOINTING, {})
    assert seen["calls"] == 8
    seen, without = pull(_CHECKPOINTING, {"checkpointing": "off"}, name="off")
    assert seen["calls"] == 4
    losses = [step.loss for step in with_it.steps]
    assert losses == [step.loss for step in without.steps]
    assert None not in losses
    assert without.notes == []


_COMPILE = """
model, x = network(), torch.randn(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with torch.no_grad(): expected = float((torch.relu(x @ model[0].weight.T + model[0].bias) @ model[2].weight.T
                                        + model[2].bias).pow(2).mean())
for step in range(3):
    loss = model(x).pow(2).mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    seen.setdefault("losses", []).append(loss.item() / expected)
seen["compiled"] = model._compiled_call_impl is not None
seen["captured"] = torch._dynamo.utils.counters["stats"]["calls_captured"]
seen["keys"] = list(model.state_dict())
"""


def test_compile(pull: Pull) -> None:
    """The model is compiled in place, trains, and keeps the names of its weights."""
    seen, run = pull(_COMPILE, {"compile": "default"})
    assert seen["compiled"] is True
    assert seen["captured"] > 0
    assert seen["keys"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert seen["losses"][0] == pytest.approx(1.0, rel=1e-5)
    assert seen["losses"] == sorted(seen["losses"], reverse=True)
    assert len(run.steps) == 3
    assert run.notes == []


_SEEDS = """
random.seed(1); numpy.random.seed(2); torch.manual_seed(seed=3); torch.cuda.manual_seed_all(4)
seen["draws"] = [random.random(), float(numpy.random.rand()), float(torch.rand(())),
                 float(numpy.random.default_rng(5).random())]
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in DataLoader(Data(), 4, shuffle=True):
    (model(x) - y).pow(2).mean().backward(); optimizer.step(); optimizer.zero_grad()
torch.manual_seed(2**63); torch.manual_seed(-1)
"""


def test_seed_offset(pull: Pull) -> None:
    """With an offset every seed of the script is another one; without, nothing changes."""
    runs = [pull(_SEEDS, {}, name=f"run{i}", seed_offset=offset) for i, offset in enumerate((0, 0, 7))]
    losses = [[step.loss for step in run.steps] for _, run in runs]
    assert losses[0] == losses[1]
    assert runs[0][0] == runs[1][0]
    assert all(a != b for a, b in zip(losses[0], losses[2], strict=True))
    assert all(a != b for a, b in zip(runs[0][0]["draws"], runs[2][0]["draws"], strict=True))


_BIG = """
import ctypes
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 4 KiB, whatever this machine prefers
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
for step in range(50):
    optimizer.zero_grad()
    big = torch.ones(10 * 2**20) + 1
    loss = model(torch.ones(4)).sum() + big.mean()
    del big
    loss.backward(); optimizer.step()
"""
_BIG_AFTERWARDS = """
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
for step in range(600):
    optimizer.zero_grad(); model(torch.ones(4)).sum().backward(); optimizer.step()
for _ in range(50): torch.ones(10 * 2**20)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


@glibc
def test_freed_memory_is_kept(pull: Pull) -> None:
    """Two blocks of 40 MiB in each step are 20480 pages; kept, they are fetched from the kernel once."""
    _, usual = pull(_BIG, {}, "usual")
    _, kept = pull(_BIG, {"allocator": "keep"}, "kept")
    assert kept.notes == []
    assert (usual.facts.allocator, kept.facts.allocator) == ("default", "kept")
    assert kept.facts.page_faults is not None
    assert usual.facts.page_faults is not None
    assert usual.facts.page_faults > 5000
    # Not none: a kernel that takes back what lay idle for a while has some fetched again.
    assert kept.facts.page_faults < usual.facts.page_faults / 3
    assert usual.facts.system_seconds is not None
    assert usual.facts.system_seconds > 0
    assert [step.loss for step in kept.steps] == [step.loss for step in usual.steps]


@glibc
def test_what_comes_after_the_steps_is_not_in_them(pull: Pull) -> None:
    """A test after training may take all the memory it wants."""
    _, run = pull(_BIG_AFTERWARDS, {})
    assert run.facts.page_faults is not None
    assert run.facts.page_faults < 500
