"""Pairs of launches of real scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from hotlap.launch import environment
from hotlap.launch.process import Limits
from hotlap.records import Change
from hotlap.tune.arms import Arm, ArmFailed, CandidateFailed
from hotlap.tune.guard import tail
from hotlap.tune.proof import Launch, launch_pair
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


_VALIDATING = """
import argparse, torch
from torch.utils.data import DataLoader, TensorDataset
parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--each", type=int, default=0)
parser.add_argument("--fails", type=int, default=0)
parser.add_argument("--from", type=int, default=8, dest="from_")
args = parser.parse_args()
torch.manual_seed(0)
inputs = torch.randn(256, 4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
print("before training: psnr 1.0")
steps = 0
for epoch in range(1, 1000):
    for (x,) in DataLoader(TensorDataset(inputs), batch_size=args.batch_size):
        model(x).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
        steps += 1
        if args.each and steps % args.each == 0: print("psnr", 100 + steps)
        if steps == args.fails and args.batch_size >= args.from_: raise RuntimeError("no room")
    if not args.each: print("psnr", epoch + (1 if args.batch_size == 4 else 1.5))
"""


def larger(batch: int) -> Change:
    return Change(name="batch", value=str(batch), title="", numerics="trajectory", edits={"batch_size": batch})


def pair(folder: Path, changes: Sequence[Change], steps: int, words: Sequence[str] = ()) -> Launch:
    (folder / "train.py").write_text(_VALIDATING)
    target = Target.of_command([sys.executable, "train.py", *words])
    target = msgspec.structs.replace(target, metric="psnr")
    here = environment()
    arms = [
        Arm(target, each, folder / name, here, limits=Limits(silence=60))
        for name, each in (("baseline", []), ("candidate", list(changes)))
    ]
    try:
        return launch_pair(*arms, steps, to_the_end=False)
    finally:
        for arm in arms:
            arm.close()


def test_a_metric_is_compared_where_both_have_trained_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last epoch that both have done; what was printed before training, or at other samples, is not compared."""
    monkeypatch.chdir(tmp_path)
    done = pair(tmp_path, [larger(16)], 150)
    assert (done.baseline_quality, done.candidate_quality) == ({"psnr": 3.0}, {"psnr": 3.5})
    assert done.quality_after == {"psnr": "512 samples"}


def test_what_no_epoch_ends_in_has_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pair(tmp_path, [larger(16)], 40).baseline_quality == {}


def test_values_at_other_samples_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each twentieth step: with four times the samples in a step, every fourth value of A has one of B's."""
    monkeypatch.chdir(tmp_path)
    done = pair(tmp_path, [larger(16)], 130, ["--each", "20"])
    assert (done.baseline_quality, done.candidate_quality) == ({"psnr": 180.0}, {"psnr": 120.0})
    assert done.quality_after == {"psnr": "320 samples"}


@pytest.mark.parametrize(("batch", "made"), [(16, 24), (64, 96)])
def test_few_steps_of_many_samples_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, made: int
) -> None:
    """Six at least; where the planned steps have fewer of them, both train for longer."""
    monkeypatch.chdir(tmp_path)
    done = pair(tmp_path, [larger(batch)], 24)
    assert (len(done.baseline), len(done.candidate)) == (made, made * 4 // batch)
    assert len(done.parts) == 2


def test_too_few_steps_of_too_many_samples_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CandidateFailed, match="a step of it has the samples of 64 steps, so 24 of them are too few"):
        pair(tmp_path, [larger(256)], 24)


def test_who_failed_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CandidateFailed, match="no room"):
        pair(tmp_path, [larger(8)], 60, ["--fails", "10"])
    with pytest.raises(ArmFailed, match="no room") as raised:
        pair(tmp_path, [larger(8)], 60, ["--fails", "10", "--from", "4"])
    assert not isinstance(raised.value, CandidateFailed)
