"""Gradients are scaled from outside, and the training is the one that a script's own scaler would give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Pull, Recorded

from gloo import TORCHRUN
from hotlap.launch import Plan

_ACCUMULATED = """
model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
from torch.nn.utils import clip_grad_norm_
class Look(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, grad): seen.setdefault("grads", []).append(float(grad)); return grad
for step in range(6):
    for micro in range(2):
        x = torch.randn(6, 4, requires_grad=True)
        # Backward calls backward in it.
        y = checkpoint(model, x, use_reentrant=True)
        (Look.apply(y.square().mean()) / 2).backward()
    seen.setdefault("norms", []).append(float(clip_grad_norm_(iter(model.parameters()), 0.05)))
    optimizer.step(); optimizer.zero_grad()
seen["weights"] = [float(p.sum()) for p in model.parameters()]
"""


def test_scaled_and_unscaled_again(pull: Pull) -> None:
    """A power of two changes no bit of weights, norms and recorded losses; backward sees it."""
    plain, usual = pull(_ACCUMULATED, {}, "usual")
    scaled, run = pull(_ACCUMULATED, {"grad_scaling": 1024.0})
    assert plain.pop("grads") == [0.5] * 12
    assert scaled.pop("grads") == [512.0] * 12
    assert scaled == plain
    losses = [step.loss for step in run.steps]
    assert None not in losses
    assert losses == [step.loss for step in usual.steps]
    assert run.notes == []
    # It is not the script's.
    assert run.facts.switches.scale_first is None


_OVERFLOWS = """
model, other = network(), network()
optimizers = [torch.optim.Adam(model.parameters(), lr=0.01), torch.optim.SGD(other.parameters(), lr=0.01)]
def look(): return [round(float(sum(p.double().sum() for p in m.parameters())), 9) for m in (model, other)]
class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, grad): seen.setdefault("grads", []).append(float(grad)); return grad
for step in range(6):
    before = look()
    for m, optimizer in zip((model, other), optimizers):
        loss = Scale.apply(m(torch.randn(6, 4)).mean())
        if step == 2 and m is model: loss = loss * float("inf")
        loss.backward()
        # In the middle of what is accumulated.
        if step == 4: torch.nn.utils.clip_grad_value_(m.parameters(), 100.0); m(torch.randn(6, 4)).mean().backward()
        optimizer.step()
        seen.setdefault("kept", []).append(all(p.grad is not None for p in m.parameters()))
        optimizer.zero_grad()
    seen.setdefault("moved", []).append([a != b for a, b in zip(before, look())])
seen["steps"] = {float(state["step"]) for state in optimizers[0].state.values()}.pop()
seen["finite"] = all(bool(p.isfinite().all()) for m in (model, other) for p in m.parameters())
"""


def test_an_overflow_leaves_out_one_step(pull: Pull) -> None:
    """Of that optimizer alone; the scale is halved, and the gradients are there afterwards."""
    seen, run = pull(_OVERFLOWS, {"grad_scaling": 1024.0})
    assert seen["moved"] == [[step != 2, True] for step in range(6)]
    assert seen["steps"] == 5.0
    assert seen["finite"] is True
    assert all(seen["kept"])
    # Step 2 of the first model has grad inf * scale.
    assert seen["grads"][:4] == [1024.0] * 4
    assert seen["grads"][5:7] == [512.0] * 2
    assert run.notes == []


_OWN = """
model, x = network(), torch.randn(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
for step in range(3):
    scaler.scale(model(x).square().mean()).backward()
    seen.setdefault("grads", []).append(float(model[2].bias.grad))
    scaler.step(optimizer); scaler.update(); optimizer.zero_grad()
"""
_CLOSURE = """
model, x = network(), torch.randn(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def closure():
    optimizer.zero_grad(); loss = model(x).square().mean(); loss.backward()
    seen.setdefault("grads", []).append(float(model[2].bias.grad)); return loss
for step in range(3): optimizer.step(closure)
"""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (_OWN, "the script scales its gradients itself"),
        (_CLOSURE, "the optimizer's step calls backward itself"),
    ],
    ids=["own scaler", "closure"],
)
def test_what_cannot_be_scaled_trains_as_before(pull: Pull, script: str, reason: str) -> None:
    seen, run = pull(script, {"grad_scaling": 1024.0})
    assert seen == pull(script, {}, "usual")[0]
    assert run.notes == [f"grad_scaling was not applied: {reason}"]


_RANKS = """
import os, torch
from torch import nn
import torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0); torch.set_num_threads(1)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
torch.manual_seed(rank)
for step in range(5):
    loss = model(torch.randn(6, 4)).square().mean()
    if step == 2 and rank == 1: loss = loss * float("inf")
    loss.backward(); optimizer.step(); optimizer.zero_grad()
taken = {float(state["step"]) for state in optimizer.state.values()}.pop()
with open(f"rank{rank}.txt", "w") as file:
    file.write(f"{taken} {model.module.weight.tolist()}")
dist.destroy_process_group()
"""


def test_ranks_leave_out_the_same_step(
    record: Callable[..., Recorded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overflow on one of two is one on both, because gradients are summed before they are unscaled."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ranks.py").write_text(_RANKS)
    found = record(*TORCHRUN, "ranks.py", plan=Plan(levers={"grad_scaling": 1024.0}))
    assert found.run.info.outcome == "finished", found.output
    told = [(tmp_path / f"rank{rank}.txt").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0].startswith("4.0 ")
    assert "nan" not in told[0]
