"""Settings of torch and of Python that are switched between two steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from recordings import Pull, Switch

_SETTINGS = """
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(256, 256)
    def forward(self, x):
        self.inside = [torch.get_float32_matmul_precision(), torch.get_num_threads()]
        return self.layer(x)
net, x = Net(), torch.randn(64, 256)
torch.set_num_threads(1); torch.set_float32_matmul_precision("high")
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
def step():
    loss = net(x).square().mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    return {"inside": net.inside, "loss": loss.item(), "frozen": gc.get_freeze_count() > 0, "gc": gc.isenabled()}
"""


def test_switched_on_and_off(live: Callable[[str], Switch]) -> None:
    """Each setting is on in its steps, and what the script had set comes back."""
    switch = live(_SETTINGS)
    before, _ = switch(None)
    assert before[-1]["inside"] == ["high", 1]
    for _ in range(2):
        during, run = switch({"matmul_precision": "medium", "threads": 2})
        assert [each["inside"] for each in during] == [["medium", 2]] * len(during)
        assert run.notes == []
        # Products of bfloat16 round where this processor has them.
        assert during[-1]["loss"] == pytest.approx(before[-1]["loss"], rel=1e-2)
        after, run = switch({})
        assert after[-1] == before[-1]
    assert switch({"threads": 2})[0][-1]["inside"] == ["high", 2]
    assert switch({"threads": 3})[0][-1]["inside"] == ["high", 3]
    assert switch({})[0][-1] == before[-1]


def test_garbage_is_collected_by_steps(live: Callable[[str], Switch]) -> None:
    """What is alive is frozen after some steps, and thawed when it is switched off."""
    switch = live(_SETTINGS)
    for _ in range(2):
        assert {(each["frozen"], each["gc"]) for each in switch(None)[0]} == {(False, True)}
        switch({"collect_every": 2})
        during, run = switch({"collect_every": 2})
        assert {(each["frozen"], each["gc"]) for each in during} == {(True, False)}
        assert run.notes == []
        after, _ = switch({})
        assert {(each["frozen"], each["gc"]) for each in after} == {(False, True)}


_GARBAGE = """
import gc, weakref
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
class Node: pass
made = []
for step in range(40):
    node = Node(); node.self = node; made.append(weakref.ref(node)); del node
    model(torch.ones(4)).sum().backward(); optimizer.step(); optimizer.zero_grad()
    seen.setdefault("alive", []).append(sum(each() is not None for each in made))
"""


def test_cycles_are_still_freed(pull: Pull) -> None:
    """Every ten steps, and the losses are the same bit by bit."""
    _, usual = pull(_GARBAGE, {}, "usual")
    seen, run = pull(_GARBAGE, {"collect_every": 10})
    assert run.notes == []
    assert max(seen["alive"]) <= 10
    assert seen["alive"][4:].count(0) >= 3
    assert [step.loss for step in run.steps] == [step.loss for step in usual.steps]


def test_a_script_that_collects_itself_is_left_alone(pull: Pull) -> None:
    seen, run = pull(
        "import gc; gc.disable()\n" + _GARBAGE + "seen['frozen'] = gc.get_freeze_count()", {"collect_every": 5}
    )
    assert seen["frozen"] == 0
    assert run.notes == ["collect_every was not applied: the script has switched collections off itself"]


_ON_CPU = """
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    model(torch.ones(4)).sum().backward(); optimizer.step(); optimizer.zero_grad()
seen["dtype"] = str(model(torch.ones(4)).dtype)
seen["allocation"] = os.environ["PYTORCH_CUDA_ALLOC_CONF"]
"""


def test_what_needs_a_gpu_says_so(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried on a CPU that only a GPU can do, and settings that are there already stay."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    levers = {"cudnn_benchmark": True, "cuda_allocator": "expandable_segments:True", "autocast": "float16"}
    seen, run = pull(_ON_CPU, levers)
    assert seen == {"dtype": "torch.float32", "allocation": "max_split_size_mb:64,expandable_segments:True"}
    assert sorted(run.notes) == [
        "autocast was not applied: float16 is many times slower than float32 on a CPU",
        "cuda_allocator was not applied: no model was called on a CUDA device",
        "cudnn_benchmark was not applied: no model was called on a CUDA device",
    ]
    assert run.facts.cuda_allocator == "max_split_size_mb:64,expandable_segments:True"


_PURE = """
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layers = network()
    def forward(self, x): self.inside = str(self.layers(x["x"]).dtype); return {"y": self.layers(x["x"])}
model, x = Net(), torch.randn(6, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(6):
    out = model({"x": x})["y"]; nn.functional.mse_loss(out, torch.ones(6, 1)).backward()
    optimizer.step(); optimizer.zero_grad()
weight = model.layers[0].weight
seen["dtypes"] = [model.inside, str(out.dtype), str(weight.dtype), str(optimizer.state[weight]["exp_avg"].dtype)]
"""


def test_a_model_in_bfloat16_throughout(pull: Pull) -> None:
    """Weights, inputs and state, while the loss is computed from float32."""
    seen, run = pull(_PURE, {"pure": "bfloat16"})
    assert seen["dtypes"] == ["torch.bfloat16", "torch.float32", "torch.bfloat16", "torch.bfloat16"]
    assert run.facts.parameter_dtype == "bfloat16"
    assert run.notes == []
    losses = [step.loss for step in run.steps]
    assert None not in losses
    assert losses == sorted(losses, reverse=True)
