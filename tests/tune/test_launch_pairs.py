"""Pairs of launches of real scripts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hotlap.launch import environment
from hotlap.launch.process import Limits
from hotlap.records import Change
from hotlap.tune.arms import Arm
from hotlap.tune.guard import tail
from hotlap.tune.proof import launch_pair
from hotlap.tune.target import Target

#: 44 samples: five steps of 8, and one of 4, whose loss is divided by as many micro-batches as the others'.
_ACCUMULATING = """
import argparse, torch
from torch.utils.data import DataLoader, TensorDataset
parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--accumulation-steps", type=int, default=4)
args = parser.parse_args()
torch.manual_seed(0)
inputs = torch.randn(44, 4)
loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=args.batch_size, shuffle=True)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for epoch in range(100):
    for i, (x, y) in enumerate(loader):
        loss = torch.nn.functional.mse_loss(model(x), y) / args.accumulation_steps
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()
"""
_UNDIVIDED = Change(
    name="micro_batch",
    value="8x1",
    title="micro-batch 8, 1 to a step",
    numerics="rounding",
    edits={"batch_size": 8, "accumulation_steps": 1},
)


def test_an_epoch_that_does_not_come_out_even_is_compared_without_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is half as large in the arm that divides by 4; all other losses are the same but for roundings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_ACCUMULATING)
    target = Target.of_command([sys.executable, "train.py"])
    arms = [
        Arm(target, changes, tmp_path / name, environment(), limits=Limits(silence=60), steps=36)
        for name, changes in (("baseline", []), ("candidate", [_UNDIVIDED]))
    ]
    try:
        launch = launch_pair(*arms, 36, to_the_end=False)
    finally:
        for arm in arms:
            arm.close()
    assert launch.smaller == [5, 11, 17, 23, 29, 35]
    before, after = launch.baseline[5], launch.candidate[5]
    assert before is not None
    assert after == pytest.approx(2 * before, rel=1e-3)
    whole, other = (tail(curve, 36, launch.smaller) for curve in (launch.baseline, launch.candidate))
    assert whole == pytest.approx(other, rel=0.02)
    assert tail(launch.baseline, 36) != pytest.approx(tail(launch.candidate, 36), rel=0.03)
