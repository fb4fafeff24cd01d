"""``hotlap.apply`` pulls levers from inside the script, once, wherever the probe is or is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hotlap
from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment, Run

_TOP = "import hotlap\nhotlap.apply(workers=1, fused=True, autocast='bfloat16', checkpointing='off')\n"
_IMPORTS = """
import json, torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
"""
_TRAINING = """
runs = []
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.layer = nn.Linear(4, 1)
    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)
    def inner(self, x):
        runs.append(1); return self.layer(x)
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.Adam(net.parameters())
loader = DataLoader(TensorDataset(torch.randn(12, 4)), batch_size=4)
for (x,) in loader:
    out = net(x)
    out.float().sum().backward(); optimizer.step(); optimizer.zero_grad()
construct, wrapped = DataLoader.__init__, 0
while hasattr(construct, "__wrapped__"):
    construct, wrapped = construct.__wrapped__, wrapped + ("levers" in construct.__code__.co_filename)
print(json.dumps({"workers": loader.num_workers, "fused": optimizer.param_groups[0]["fused"], "dtype": str(out.dtype),
    "computed": len(runs), "wrapped": wrapped}))
"""
_EVERYTHING = {"workers": 1, "fused": True, "dtype": "torch.bfloat16", "computed": 3, "wrapped": 1}


def alone(script: str, folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / "train.py"
    path.write_text(script)
    environ = {name: value for name, value in os.environ.items() if name != "HOTLAP_PROBE"}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=environ, timeout=90)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def with_probe(script: str, folder: Path, plan: Plan) -> tuple[dict[str, Any], Run]:
    (folder / "train.py").write_text(script)
    command, known = [sys.executable, str(folder / "train.py")], Environment(hotlap="0", python="3")
    with Training(command, folder / "run", plan, Limits(silence=90), known_environment=known) as training:
        training.wait()
    assert training.run().info.outcome == "finished", training.tail()
    return json.loads(training.tail().splitlines()[-1]), training.run()


@pytest.mark.parametrize(
    "script", [_TOP + _IMPORTS + _TRAINING, _IMPORTS + _TOP + _TRAINING], ids=["before torch", "after torch"]
)
def test_without_a_probe(script: str, tmp_path: Path) -> None:
    """Levers take effect where torch comes later, and where functions of it were imported by name already."""
    seen, said = alone(script, tmp_path)
    assert seen == _EVERYTHING
    assert said == ""


def test_what_cannot_be_applied_is_said(tmp_path: Path) -> None:
    seen, said = alone(_TOP.replace("fused=True", "channels_last=True") + _IMPORTS + _TRAINING, tmp_path)
    assert seen["computed"] == 3
    assert said == "hotlap: channels_last was not applied: no model with two-dimensional convolutions was trained\n"


def test_under_a_profile(tmp_path: Path) -> None:
    """The probe that is there has the levers from then on, and the record names them."""
    seen, run = with_probe(_IMPORTS + _TOP + _TRAINING, tmp_path, Plan())
    assert seen == _EVERYTHING
    assert run.facts.applied == {"workers": 1, "fused": True, "autocast": "bfloat16", "checkpointing": "off"}
    assert len(run.steps) == 3
    assert run.notes == []


def test_what_is_set_from_outside_stays(tmp_path: Path) -> None:
    """Of two settings that from outside counts, and the others of the script are added to it."""
    seen, run = with_probe(_TOP + _IMPORTS + _TRAINING, tmp_path, Plan(levers={"workers": 2, "fused": False}))
    assert seen == {**_EVERYTHING, "workers": 2, "fused": False}
    assert run.notes == ["hotlap.apply() in the script left fused, workers as set from outside"]


def test_wrong_names() -> None:
    """A name that does not exist is an error that knows what was meant, and nothing is applied."""
    with pytest.raises(TypeError, match=r"knows no 'autocats'; did you mean 'autocast'\?"):
        hotlap.apply(autocats="bfloat16", workers=2)
    from hotlap.probe.applying import applied

    assert applied == {}
