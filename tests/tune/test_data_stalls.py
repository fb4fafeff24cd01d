"""The differential test of the data side: what waiting for data costs, and which part of it a cache could give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hotlap import api
from hotlap.diagnose import diagnose
from hotlap.diagnose.stalls import data_stalls
from hotlap.records import Ablation, Ablations
from hotlap.report import proofs
from hotlap.tune.ablation import SUSPECTS, _result, _unmeasured
from hotlap.tune.statistics import effect

STEP = 0.020


def proven(**pairs: list[float]) -> Ablations:
    """What was taken away, by the ratios of throughput without and with it."""
    named = {suspect.name: suspect for suspect in SUSPECTS}
    tried = [_result(_unmeasured(named[name], 0.01, []), effect(each, 0.98), STEP) for name, each in pairs.items()]
    return Ablations(budget=60, spent=30, tried=tried)


def test_the_differences_are_the_stalls() -> None:
    """Of 20 ms, 12 are waits; 8 of them are samples, so 4 are left for collating and handing over."""
    found = data_stalls(proven(data=[2.5, 2.52, 2.48, 2.5], samples=[5 / 3, 1.66, 1.67, 1.668]))
    assert found is not None
    assert found.ceiling_seconds == pytest.approx(0.008, rel=0.02)
    assert found.stall.seconds == pytest.approx(0.012, rel=0.02)
    assert found.samples is not None
    assert found.samples.seconds == pytest.approx(0.008, rel=0.02)
    over = found.handing_over
    assert over is not None
    assert over.seconds == pytest.approx(0.004, rel=0.05)
    # Both intervals may be off at once.
    assert over.low == pytest.approx((found.stall.low or 0) - (found.samples.high or 0))
    assert over.high == pytest.approx((found.stall.high or 0) - (found.samples.low or 0))
    stall, samples, handing_over = proofs.stalls(found)
    assert stall.startswith("A step of 20.0 ms waits 12.0 ms [")
    assert "(4 pairs)" in stall
    # By the end of its interval, not by its middle.
    assert "no more than 2.55x" in stall
    assert "A cache that holds them all can bring no more" in samples
    assert "No cache of samples takes that away" in handing_over


def test_no_stall_is_said_with_its_bound() -> None:
    found = data_stalls(proven(data=[1.001, 0.999, 1.002, 1.0]))
    assert found is not None
    (said,) = proofs.stalls(found)
    assert said.startswith("No stall can be seen")
    assert "will bring no more than 0." in said


def test_a_part_that_may_be_nothing_gets_no_advice() -> None:
    """Only the figures, and what would tell more."""
    found = data_stalls(proven(data=[2.5, 2.52, 2.48, 2.5], samples=[0.8, 1.3, 1.0, 1.4]))
    assert found is not None
    stall, samples, _ = proofs.stalls(found)
    assert "waits 12.0 ms" in stall
    assert "cannot be told from nothing" in samples
    assert "cache" not in samples


def test_what_was_not_measured_is_not_there() -> None:
    """One pair has no interval, and a training without a loader no stall."""
    found = data_stalls(proven(data=[2.0]))
    assert found is not None
    assert proofs.stalls(found)[0].startswith("Unclear")
    assert data_stalls(None) is None
    unmeasured = Ablation(name="data", title="", how="", why="no loader")
    assert data_stalls(Ablations(budget=1, spent=1, tried=[unmeasured])) is None


_SCRIPT = """
import time, torch
from torch.utils.data import DataLoader, Dataset, default_collate

class Slow(Dataset):
    def __len__(self): return 100000
    def __getitem__(self, index):
        time.sleep(0.012)
        return torch.full((16,), float(index % 7)), torch.tensor([float(index % 3)])

def collate(samples):
    time.sleep(0.004)
    return default_collate(samples)

model = torch.nn.Linear(16, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for x, y in DataLoader(Slow(), batch_size=1, collate_fn=collate):
    time.sleep(0.004)
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
"""


@pytest.mark.slow
def test_a_planted_stall_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples take three times as long as collating them, and nothing else is taken away, however short the budget."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_SCRIPT)
    run = api.profile([sys.executable, "train.py"], steps=20, data=True, budget=8, run_dir=tmp_path / "runs")
    assert run.ablations is not None
    assert [each.name for each in run.ablations.tried] == ["data", "samples"]
    found = diagnose(run).data_stalls
    assert found is not None
    assert (found.stall.low or 0.0) > 0, found
    assert found.samples is not None
    assert found.handing_over is not None
    assert 0 < found.handing_over.seconds < found.samples.seconds < found.stall.seconds, found
    assert found.stall.n >= 4
    (directory,) = (tmp_path / "runs").iterdir()
    assert json.loads((directory / "ablations.json").read_text())["tried"][0]["name"] == "data"
