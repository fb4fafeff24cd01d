"""``hotlap profile --trace``, where this machine's rates are known and where they are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from hotlap.launch import environment, read_run
from hotlap.records import Calibration, Rate, Rates, write_record
from hotlap.report import html, markdown

TRAINING = """\
import torch

torch.set_num_threads(1)
model = torch.nn.Linear(256, 256)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(60):
    loss = model(torch.randn(64, 256)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
#: Forward, and the gradient of the weights.
FLOPS = 2 * 2 * 64 * 256 * 256


def calibration() -> Calibration:
    table = [
        Rate(kind="product", dtype="float32", points=[(8.0, 1e9), (512.0, 100e9)]),
        Rate(kind="elementwise", dtype="float32", points=[(1e4, 10e9), (1e8, 5e9)]),
    ]
    return Calibration(
        cpu=environment().cpu,
        threads=1,
        torch=str(torch.__version__),
        date="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        rates=Rates(device="cpu", table=table, overhead=1e-5),
    )


def profile(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hotlap", "profile", "--trace", *options, "--", sys.executable, "train.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "100"},
    )


def test_the_step_beside_what_its_work_needs(tmp_path: Path) -> None:
    """In the profile, its record and every report of it; without the machine's rates it is said how to get them."""
    (tmp_path / "train.py").write_text(TRAINING)
    unknown = profile(tmp_path, "--json")
    assert json.loads(unknown.stdout)["gap"] is None
    assert "what the step takes beyond its work is left out" in unknown.stderr
    assert "hotlap estimate --calibrate" in unknown.stderr
    write_record(tmp_path / "cache" / "hotlap" / "calibration-1.json", calibration())
    shown = profile(tmp_path, "--run-dir", "known").stdout
    assert "The step beside what its work needs" in shown
    (directory,) = (tmp_path / "known").iterdir()
    gap = read_run(directory).gap
    assert gap is not None
    assert gap.flops == FLOPS
    assert gap.arithmetic == FLOPS / 100e9
    assert f"MFU {100 * gap.mfu:.1f} %" in shown
    run = read_run(directory)
    assert "its bytes" in markdown.render(run)
    assert "Beside what its work needs" in html.render(run)
