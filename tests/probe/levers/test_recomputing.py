"""Activation checkpointing switched on from outside: it takes effect, and the training stays bit by bit the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Pull, Recorded, Switch

from gloo import TORCHRUN
from hotlap.launch import Plan
from hotlap.records import Run

_BLOCKS = """
import copy, pickle
random.seed(0)
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
        self.calls = 0
    def forward(self, x, *, scale=1.0):
        self.calls += 1
        if random.random() < 0.3: return x
        return x + scale * self.inner(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4)); self.head = nn.Linear(4, 1)
    def forward(self, x):
        for block in self.blocks: x = block(x, scale=0.5)
        return self.head(x.mean(dim=(2, 3)))
net, batch = Net(), torch.randn(2, 4, 16, 16)
optimizer = torch.optim.Adam(net.parameters())
kept = []
def pack(tensor): kept.append(tensor.numel()); return tensor
for step in range(4):
    for block in net.blocks: block.calls = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor): loss = net(batch).square().mean()
    seen["kept"] = sum(kept); kept.clear()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    # One that is left out keeps nothing, and is not computed again.
    seen["calls"] = [max(block.calls, before) for block, before in zip(net.blocks, seen.get("calls", [0] * 4))]
    seen.setdefault("after", []).append(random.random())
norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
seen["statistics"] = [norm.running_mean.tolist() + norm.running_var.tolist() for norm in norms]
seen["counted"] = [int(norm.num_batches_tracked) for norm in norms]
seen["momentum"] = [norm.momentum for norm in norms]
seen["names"] = [type(block).__name__ for block in net.blocks]
seen["keys"] = list(net.state_dict())
seen["copy"] = all(type(block) is Block for block in copy.deepcopy(net).blocks)
seen["pickled"] = all(type(block) is Block for block in pickle.loads(pickle.dumps(net)).blocks)
other = copy.deepcopy(net)
with torch.no_grad():
    for parameter in other.parameters(): parameter.zero_()
seen["copy computes"] = float(other(batch).abs().sum())
net.eval()
with torch.no_grad(): seen["evaluated"] = float(net(batch).sum())
"""

_OF_THE_LEVER = ("kept", "calls")


def _losses(run: Run) -> list[float | None]:
    return [step.loss for step in run.steps]


def test_every_block(pull: Pull) -> None:
    """With dropout, running statistics and blocks left out by chance: less is kept, more is computed, same training."""
    plain, without = pull(_BLOCKS, {})
    seen, run = pull(_BLOCKS, {"recompute": "all"}, name="on")
    assert run.notes == []
    assert _losses(run) == _losses(without)
    assert None not in _losses(run)
    assert {name: seen[name] for name in seen if name not in _OF_THE_LEVER} == {
        name: plain[name] for name in plain if name not in _OF_THE_LEVER
    }
    assert seen["copy computes"] == 0.0
    assert plain["calls"] == [1] * 4
    assert seen["calls"] == [2] * 4
    assert (without.facts.checkpointing, run.facts.checkpointing) == (False, True)
    assert without.facts.blocks == run.facts.blocks == 4
    assert any(step.phases.get("recompute") for step in run.steps)


def test_in_lower_precision(pull: Pull) -> None:
    """Computed again in that of the forward, when autocast is over."""
    _, without = pull(_BLOCKS, {"autocast": "bfloat16"})
    seen, run = pull(_BLOCKS, {"autocast": "bfloat16", "recompute": "all"}, name="on")
    assert _losses(run) == _losses(without)
    assert (seen["calls"], run.notes) == ([2] * 4, [])


_ON_A_GPU = """
class Block(nn.Module):
    def __init__(self): super().__init__(); self.inner = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.2))
    def forward(self, *, x): return x + self.inner(x)
class Net(nn.Module):
    def __init__(self): super().__init__(); self.blocks = nn.ModuleList(Block() for _ in range(4))
    def forward(self, x):
        for block in self.blocks: x = block(x=x)
        return x
torch.use_deterministic_algorithms(True)
net, x = Net().cuda(), torch.randn(8, 64, device="cuda")
optimizer = torch.optim.AdamW(net.parameters())
for step in range(4): net(x).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
"""


@pytest.mark.gpu
def test_dropout_on_a_gpu(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers are drawn again, of inputs that come by name, too."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _, without = pull(_ON_A_GPU, {})
    _, run = pull(_ON_A_GPU, {"recompute": "all"}, name="on")
    assert _losses(run) == _losses(without)
    assert (run.facts.checkpointing, run.notes) == (True, [])


@pytest.mark.parametrize(("share", "calls"), [("1/2", [2, 1, 2, 1]), ("1/4", [2, 1, 1, 1])])
def test_a_share_of_the_blocks(pull: Pull, share: str, calls: list[int]) -> None:
    """Evenly over the model."""
    seen, run = pull(_BLOCKS, {"recompute": share})
    assert (seen["calls"], run.notes) == (calls, [])


_SWITCHED = """
torch.set_num_threads(1); torch.manual_seed(0)
class Block(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(8, 8); self.calls = 0
    def forward(self, x): self.calls += 1; return self.layer(x).relu()
net = nn.Sequential(*[Block() for _ in range(4)])
optimizer = torch.optim.Adam(net.parameters())
def step():
    for block in net: block.calls = 0
    net(torch.randn(2, 8)).sum().backward(); optimizer.step(); optimizer.zero_grad()
    return {"calls": [block.calls for block in net], "own": [type(block) is Block for block in net]}
"""


def test_between_two_steps(live: Callable[[str], Switch]) -> None:
    """On, another share, and off again: the blocks are then of their own class."""
    switch = live(_SWITCHED)
    for settings, calls in (
        ({"recompute": "all"}, 2),
        ({"recompute": "1/4"}, None),
        ({}, 1),
        ({"recompute": "all"}, 2),
    ):
        steps, run = switch(settings)
        expected = [2, 1, 1, 1] if calls is None else [calls] * 4
        assert steps[-1] == {"calls": expected, "own": [each == 1 for each in expected]}
        assert run.notes == []


_OTHERS = """
from torch.utils.checkpoint import checkpoint
class Counting(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(4, 4); self.register_buffer("n", torch.zeros(()))
    def forward(self, x): self.n += 1; return self.layer(x) + self.n
class Own(nn.Module):
    def __init__(self): super().__init__(); self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4)) for _ in "ab"])
    def forward(self, x): return checkpoint(self.blocks, x, use_reentrant=False)
class Inside(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Sequential(nn.Linear(4, 4))
    def forward(self, x): return checkpoint(self.layer, x, use_reentrant=False)
class Two(nn.Module):
    def __init__(self):
        super().__init__(); self.encoder = nn.Sequential(nn.Linear(4, 4), nn.ReLU()); self.calls = 0
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(4, 4)); self.decoder[0].register_forward_hook(self.count)
    def count(self, *_): self.calls += 1
    def forward(self, x): return self.decoder(self.encoder(x))
flat = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
def train(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(2): net(torch.randn(2, 4)).sum().backward(); optimizer.step(); optimizer.zero_grad()
    return net
which = os.environ["WHICH"]
if which == "counting": seen["n"] = [float(block.n) for block in train(nn.Sequential(Counting(), Counting()))]
if which == "own": train(Own())
if which == "inside": train(nn.Sequential(Inside(), Inside()))
if which == "two": seen["calls"] = train(Two()).calls
if which == "flat": train(flat)
if which == "compiled": train(nn.Sequential(torch.compile(flat, backend="eager")))
"""


@pytest.mark.parametrize(
    ("which", "note"),
    [
        ("counting", "Counting changes its buffers when it computes"),
        ("own", "the script checkpoints activations itself"),
        ("inside", "the script checkpoints activations itself"),
        ("flat", "Sequential has no parts that repeat"),
        ("compiled", "the model is compiled, and what is recomputed is decided there (memory_budget)"),
    ],
)
def test_what_it_is_not_for(pull: Pull, monkeypatch: pytest.MonkeyPatch, which: str, note: str) -> None:
    """The reason is noted."""
    monkeypatch.setenv("WHICH", which)
    assert pull(_OTHERS, {"recompute": "all"})[1].notes == [f"recompute was not applied: {note}"]


def test_parts_where_nothing_repeats(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder and a decoder."""
    monkeypatch.setenv("WHICH", "two")
    seen, run = pull(_OTHERS, {"recompute": "all"})
    assert (seen["calls"], run.facts.blocks, run.notes) == (4, 2, [])


_LIBRARY = """
from transformers import GPT2Config, GPT2LMHeadModel
net = GPT2LMHeadModel(GPT2Config(n_layer=4, n_embd=16, n_head=2, vocab_size=50, n_positions=16))
count = [0]
for block in net.transformer.h: block.mlp.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
if os.environ.get("OWN"): net.gradient_checkpointing_enable()
optimizer = torch.optim.AdamW(net.parameters())
words = torch.randint(0, 50, (2, 8))
for step in range(2):
    loss = net(input_ids=words, labels=words).loss
    loss.backward(); optimizer.step(); optimizer.zero_grad()
seen["calls"] = count[0]
"""


def test_layers_of_transformers(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a switch of their own, and the cache of keys is not filled twice; a script that uses it is left."""
    pytest.importorskip("transformers")
    plain, without = pull(_LIBRARY, {})
    every, run = pull(_LIBRARY, {"recompute": "all"}, name="all")
    half, _ = pull(_LIBRARY, {"recompute": "1/2"}, name="half")
    assert (plain["calls"], half["calls"], every["calls"], run.notes) == (8, 12, 16, [])
    assert _losses(run) == _losses(without)
    monkeypatch.setenv("OWN", "1")
    own, run = pull(_LIBRARY, {"recompute": "all"}, name="own")
    assert (own["calls"], run.notes) == (16, ["recompute was not applied: the script checkpoints activations itself"])
    off, run = pull(_LIBRARY, {"checkpointing": "off"}, name="off")
    assert (off["calls"], run.notes) == (8, [])
    assert _losses(run) == _losses(without)


_SEQUENTIAL = """
from torch.utils.checkpoint import checkpoint_sequential
calls = []
class Block(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(4, 4)
    def forward(self, x): calls.append(1); return nn.functional.dropout(self.layer(x))
net = nn.Sequential(*[Block() for _ in range(4)])
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(2):
    checkpoint_sequential(net, 2, torch.randn(3, 4), use_reentrant=False).sum().backward(); optimizer.step()
    optimizer.zero_grad()
seen["calls"] = len(calls)
"""


def test_sequential_checkpointing_off(pull: Pull) -> None:
    """``checkpoint_sequential`` goes through ``checkpoint``; its last segment was never recomputed."""
    on, with_it = pull(_SEQUENTIAL, {})
    off, without = pull(_SEQUENTIAL, {"checkpointing": "off"}, name="off")
    assert (on["calls"], off["calls"], without.notes) == (12, 8, [])
    assert _losses(with_it) == _losses(without)


_RANKS = """
import os, sys, torch
from torch import nn
torch.set_num_threads(1); torch.manual_seed(0)
torch.distributed.init_process_group("gloo")
class Block(nn.Module):
    def __init__(self): super().__init__(); self.layer = nn.Linear(8, 8)
    def forward(self, x): return x + nn.functional.dropout(self.layer(x).relu(), 0.1)
net = nn.parallel.DistributedDataParallel(nn.Sequential(*[Block() for _ in range(4)]))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
torch.manual_seed(torch.distributed.get_rank())
for step in range(6):
    net(torch.randn(4, 8)).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
torch.distributed.destroy_process_group()
"""


def test_two_ranks(record: Callable[..., Recorded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are shared as they come, and both ranks train what they would have trained."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "ranks.py").write_text(_RANKS)
    command = [*TORCHRUN, str(tmp_path / "ranks.py")]
    plain, recomputed = (record(*command, plan=Plan(levers=levers)).run for levers in ({}, {"recompute": "all"}))
    assert _losses(recomputed) == _losses(plain)
    assert len(_losses(plain)) == 6
    assert (plain.facts.checkpointing, recomputed.facts.checkpointing, recomputed.notes) == (False, True, [])
