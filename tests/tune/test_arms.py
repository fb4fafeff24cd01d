"""What an arm measures while it is stopped and set going again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from hotlap.launch import environment
from hotlap.launch.process import Limits
from hotlap.tune.arms import Arm
from hotlap.tune.target import Target

_WORKER = """
import time, torch
from torch.utils.data import DataLoader, Dataset
class Slow(Dataset):
    def __len__(self): return 100000
    def __getitem__(self, index): time.sleep(0.1); return torch.ones(4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
if __name__ == "__main__":
    for batch in DataLoader(Slow(), batch_size=1, num_workers=1, prefetch_factor=1):
        model(batch).sum().backward(); optimizer.step(); optimizer.zero_grad()
"""


def test_time_in_which_a_worker_is_stopped_is_not_fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in the middle of a fetch of 0.1 s when its arm is stopped for a second."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_WORKER)
    target = Target.of_command([sys.executable, "train.py"])
    arm = Arm(target, [], tmp_path / "arm", environment(), limits=Limits(silence=60))
    try:
        for number in range(1, 6):
            arm.train_until(3 * number)
            time.sleep(1.0)
        arm.train_until(24)
        facts = arm.so_far().facts
    finally:
        arm.close()
    assert facts.fetch_seconds is not None
    assert 0.09 < facts.fetch_seconds < 0.25
