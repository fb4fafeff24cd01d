"""Compiling from outside: of the whole model or of its blocks, switched on and off, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Pull, Switch

_BLOCKS = """
torch.manual_seed(0); torch.set_num_threads(1)
class Block(nn.Module):
    def __init__(self): super().__init__(); self.norm, self.layer = nn.LayerNorm(8), nn.Linear(8, 8)
    def forward(self, x): return x + self.layer(self.norm(x)).relu()
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.first = nn.Linear(4, 8); self.blocks = nn.ModuleList(Block() for _ in range(3))
    def forward(self, x):
        x = self.first(x)
        for block in self.blocks: x = block(x)
        return x.mean()
net, x = Net(), torch.randn(6, 4)
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
def step():
    loss = net(x)
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    return {"net": net._compiled_call_impl is not None, "loss": loss.item(),
            "blocks": [block._compiled_call_impl is not None for block in net.blocks]}
"""


def test_blocks_that_are_alike_are_compiled_once(live: Callable[[str], Switch]) -> None:
    """In place; off again, and on again without compiling, while the first step tells what compiling took."""
    switch = live(_BLOCKS)
    usual = switch(None)[0][-1]
    assert usual == {"net": False, "loss": usual["loss"], "blocks": [False] * 3}
    begun = switch({})[1].steps[-1].i
    during, run = switch({"compile": "default blocks"})
    assert during[-1] == {"net": False, "loss": pytest.approx(usual["loss"], rel=1e-5), "blocks": [True] * 3}
    assert run.notes == []
    forwards = [each for each in run.compilations if not each.backward]
    assert len(forwards) == 1
    assert forwards[0].what is not None
    assert "Block" in forwards[0].what
    # The controller can read what it took: from the step that compiled, and from the compilation.
    (compiling,) = {each.step for each in run.compilations}
    assert compiling is not None
    assert compiling > begun
    first = next(step for step in run.steps if step.i == compiling)
    assert sum(each.seconds for each in run.compilations) <= first.wall
    assert switch({})[0][-1] == usual
    during, run = switch({"compile": "default blocks"})
    assert during[-1]["blocks"] == [True] * 3
    assert len([each for each in run.compilations if not each.backward]) == 1
    assert switch({})[0][-1] == usual


_FAILING = """
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layers, self.norm = network(), nn.BatchNorm1d(4); self.calls = 0
    def forward(self, x): self.calls += 1; return self.layers(self.norm(x))
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    model(torch.randn(6, 4)).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
seen["calls"], seen["batches"] = model.calls, int(model.norm.num_batches_tracked)
seen["compiled"] = model._compiled_call_impl is not None
"""


def test_without_a_compiler_the_training_is_as_it_was(
    pull: Pull, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is computed twice, and the note has the reason."""
    usual, without = pull(_FAILING, {}, "usual")
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    seen, run = pull(_FAILING, {"compile": "default"})
    assert seen == usual
    assert seen["calls"] == 4
    assert [step.loss for step in run.steps] == [step.loss for step in without.steps]
    (note,) = run.notes
    assert note.startswith("compile was not applied: ")
    assert "compiler" in note


_NO_BLOCKS = """
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(4)).sum().backward(); optimizer.step()
seen["compiled"] = any(m._compiled_call_impl is not None for m in model.modules())
"""


def test_a_model_that_repeats_no_block_says_so(pull: Pull) -> None:
    """Two layers are no blocks."""
    seen, run = pull(_NO_BLOCKS, {"compile": "default blocks"})
    assert seen["compiled"] is False
    assert run.notes == ["compile was not applied: the model repeats no block"]
    assert run.facts.repeated_blocks == 0


_SHAPES = """
from hotlap.probe.repeated import repeated_blocks
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layers = network()
    def forward(self, x): return self.layers(x)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for size in (3, 4, 5, 6, 7, 8, 9, 10):
    model(torch.randn(size, 4)).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
layer = lambda: nn.TransformerEncoderLayer(8, 2, 16)
found = repeated_blocks(torch, nn.Sequential(nn.TransformerEncoder(layer(), 3), nn.Sequential(layer(), nn.ReLU())))
seen["found"] = [len(blocks) for blocks in found.values()]
"""


def test_shapes_that_change(pull: Pull) -> None:
    """One compilation does for all of them."""
    seen, run = pull(_SHAPES, {"compile": "default dynamic"})
    assert run.notes == []
    assert len([each for each in run.compilations if not each.backward]) == 1
    assert run.facts.input_shapes == 7
    assert seen["found"] == [4]


_LET_GO = """
import copy, gc, pickle, weakref
def once():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(10):
        net(torch.ones(2, 4)).sum().backward(); optimizer.step(); optimizer.zero_grad()
    seen["compiled"] = net._compiled_call_impl is not None
    other = copy.deepcopy(net)
    seen["of the copy"] = other._compiled_call_impl is not None or bool(other.__dict__["_hotlap_compiled"])
    seen["pickled"] = b"hotlap.probe" not in pickle.dumps(net)
    return weakref.ref(net)
ref = once()
torch._dynamo.reset()
gc.collect()
seen["gone"] = ref() is None
"""


def test_a_model_that_the_script_lets_go_is_gone(pull: Pull) -> None:
    """Of each fold, or each member of an ensemble, nothing is kept; copies and files know nothing of the lever."""
    seen, run = pull(_LET_GO, {"compile": "default"})
    assert seen == {"compiled": True, "of the copy": False, "pickled": True, "gone": True}
    assert run.unapplied == []
