"""How often two recordings of one and the same training seem to differ in speed, beside each other in pairs.

    python benchmarks/stored_runs.py [--runs 8] [--seconds 6]

One small training is recorded so many times, one after the other, and `hotlap compare RUN RUN` is asked about every
pair. Nothing differs, so each "faster" or "slower" is false: it is what an interval from blocks inside two runs does
not know.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

from machine import RESULTS, circumstances, keep, sentence

import hotlap
from hotlap.tune.stored import compare_stored

TRAINING = """\
import torch
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
data = TensorDataset(torch.randn(4096, 3, 32, 32), torch.randint(0, 10, (4096,)))
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(4),
    torch.nn.Flatten(), torch.nn.Linear(16 * 64, 10),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(1000):
    for x, y in DataLoader(data, batch_size=32, shuffle=True):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(TRAINING)
        command = [sys.executable, str(script)]
        runs = [
            hotlap.profile(command, seconds=options.seconds, run_dir=Path(folder) / "runs") for _ in range(options.runs)
        ]
    compared = [compare_stored(a, b) for a, b in combinations(runs, 2)]
    figures: dict[str, Any] = {
        "step_seconds": [hotlap.diagnose(run).step_seconds for run in runs],
        "judgements": dict(Counter(each.judgement for each in compared)),
        "ratios": [[each.effect.ratio, each.effect.low, each.effect.high, each.effect.n] for each in compared],
        "same_losses": all(each.same_losses for each in compared),
    }
    keep("stored_runs", figures)
    false = [each.effect.ratio for each in compared if each.judgement in ("faster", "slower")]
    worst = max((max(ratio, 1 / ratio) for ratio in false), default=1.0)
    steps = [1000 * seconds for seconds in figures["step_seconds"]]
    (RESULTS / "stored_runs.md").write_text(
        f"""# Recordings of one and the same training

{sentence(circumstances())}

{len(runs)} recordings of {options.seconds:g} s, with median steps of {min(steps):.1f} to {max(steps):.1f} ms.
Losses bit-identical in all: {"yes" if figures["same_losses"] else "no"}.

| pairs | "faster" or "slower", which is false | the largest of these ratios |
|---|---|---|
| {len(compared)} | {len(false)} | {worst:.2f}x |
"""
    )


if __name__ == "__main__":
    main()
