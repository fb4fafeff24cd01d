"""Runs the command line as a user does: a real process in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Hotlap

LOOP = """\
import time
import torch
from torch.utils.data import DataLoader, Dataset

class Samples(Dataset):
    def __init__(self):
        self.x, self.y = torch.randn(4000, 16), torch.randn(4000, 1)

    def __len__(self):
        return 4000

    def __getitem__(self, index):
        {fetch}
        return self.x[index], self.y[index]

torch.manual_seed(0)
data = Samples()
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range({epochs}):
    for step, (x, y) in enumerate(DataLoader(data, batch_size=8, shuffle=True)):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        {update}
"""


@pytest.fixture
def hotlap(tmp_path: Path) -> Hotlap:
    def run(*words: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hotlap", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """Write a plain training loop; ``update`` is what it does instead of ``optimizer.step()``."""

    def write(update: str = "optimizer.step()", epochs: int = 1, slow_fetch: bool = False) -> Path:
        path = tmp_path / "train.py"
        fetch = "time.sleep(0.002)" if slow_fetch else "pass"
        path.write_text(LOOP.format(update=update, epochs=epochs, fetch=fetch))
        return path

    return write


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration of the reference trainer that trains in a fraction of a second."""
    template = Path(__file__).parents[2] / "configs" / "restoration.yaml"

    def write(replace: dict[str, str] | None = None) -> Path:
        text = template.read_text()
        small = {"steps: 1000": "steps: 6", "warmup_steps: 20": "warmup_steps: 1", "batch_size: 16": "batch_size: 2"}
        for old, new in (small | (replace or {})).items():
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "my.yaml"
        path.write_text(text)
        return path

    return write
