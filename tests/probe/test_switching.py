"""Levers that are switched while the training runs, between two steps, and what they leave behind: nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recordings import Switch

from hotlap.launch import Limits, Plan, Training
from hotlap.probe import levers
from hotlap.records import Environment, Run

_SCRIPT = """
import json, torch
from torch import nn
from torch.utils.checkpoint import checkpoint
torch.set_num_threads(1)
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3); self.calls = 0
    def part(self, x): self.calls += 1; return self.second(x.relu())
    def forward(self, x):
        y = self.first(x); self.dtype = str(y.dtype); self.calls = 0
        return checkpoint(self.part, y, use_reentrant=False).mean(dim=(2, 3))
net = Net()
optimizer = torch.optim.Adam(net.parameters(), foreach=False)
seen = open("seen.jsonl", "w")
for step in range(100000):
    x = torch.randn(2, 3, 12, 12)
    loss = net(x).square().sum()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    group, state = optimizer.param_groups[0], optimizer.state[net.second.weight]
    print(json.dumps({
        "dtype": net.dtype, "calls": net.calls, "fused": group["fused"], "foreach": group["foreach"],
        "last": net.second.weight.is_contiguous(memory_format=torch.channels_last),
        "state": state["exp_avg"].is_contiguous(memory_format=torch.channels_last),
        "compiled": net._compiled_call_impl is not None,
    }), file=seen, flush=True)
"""
_AS_IT_IS = {
    "dtype": "torch.float32",
    "calls": 2,
    "fused": None,
    "foreach": False,
    "last": False,
    "state": False,
    "compiled": False,
}


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_SCRIPT)
    known = Environment(hotlap="0", python="3")
    command = [sys.executable, "train.py"]
    with Training(command, tmp_path / "run", Plan(gated=True), Limits(silence=90), known_environment=known) as training:
        assert training.wait_for_gate(), training.tail()

        def settings(wanted: dict[str, Any] | None) -> tuple[list[dict[str, Any]], Run]:
            before = len((tmp_path / "seen.jsonl").read_text().splitlines())
            assert training.block(0.0, 3, wanted) is not None, training.tail()
            # Without a loader the end of a step is seen in the next one, after its forward.
            lines = (tmp_path / "seen.jsonl").read_text().splitlines()[before + 1 :]
            return [json.loads(line) for line in lines], training.snapshot()

        yield settings


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"autocast": "bfloat16"}, {"dtype": "torch.bfloat16"}),
        ({"channels_last": True}, {"last": True, "state": True}),
        ({"fused": True}, {"fused": True}),
        ({"foreach": True}, {"foreach": True, "fused": False}),
        ({"checkpointing": "off"}, {"calls": 1}),
        ({"autocast": "bfloat16", "channels_last": True}, {"dtype": "torch.bfloat16", "last": True, "state": True}),
    ],
    ids=lambda value: "+".join(value),
)
def test_on_and_off(switch: Switch, settings: dict[str, Any], seen: dict[str, Any]) -> None:
    """What is switched on is on in the next step, and off again without a trace; a second time, too."""
    assert switch(None)[0][-1] == _AS_IT_IS
    for _ in range(2):
        steps, run = switch(settings)
        assert [step == {**_AS_IT_IS, **seen} for step in steps] == [True] * len(steps), steps
        assert run.notes == []
        steps, run = switch({})
        assert steps[-1] == _AS_IT_IS
        assert run.notes == []


def test_one_for_another(switch: Switch) -> None:
    """Between two sets, only what differs is switched."""
    switch({"fused": True, "channels_last": True})
    assert switch({"foreach": True, "channels_last": True})[0][-1] == {
        **_AS_IT_IS,
        "foreach": True,
        "fused": False,
        "last": True,
        "state": True,
    }


def test_what_cannot_be_applied_is_noted_while_it_is_asked_for(switch: Switch) -> None:
    """A note belongs to the settings of its block."""
    assert switch({"workers": 1})[1].notes == ["workers was not applied: the script made no DataLoader"]
    assert switch({})[1].notes == []


class _Breaks(levers.Lever):
    name = "breaks"

    def before_backward(self) -> None:
        if self.value:
            raise RuntimeError("no such thing")


def test_a_lever_that_fails_is_noted_while_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a trial of it would look like one in which it made no difference."""
    monkeypatch.setitem(levers.LEVERS, "breaks", _Breaks)
    try:
        levers.install(torch, {"breaks": True})
        for _ in range(2):
            levers.before_backward()
            assert levers.notes == ["breaks was not applied: RuntimeError('no such thing')"]
            levers.switch({})
            levers.before_backward()
            assert levers.notes == []
            levers.switch({"breaks": True})
    finally:
        levers.install(torch, {})
