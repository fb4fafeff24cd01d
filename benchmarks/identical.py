"""Two identical commands, twenty times: how often is the second called faster? It must never be.

    python benchmarks/identical.py [TIMES]

The command is a small training of ``tests/tune/scripts.py``'s kind whose speed nothing but the machine changes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from machine import keep

import hotlap

TRAINING = """\
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 3))
optimizer = torch.optim.Adam(model.parameters())
data = torch.utils.data.TensorDataset(torch.randn(512, 3, 32, 32))
for epoch in range(10000):
    for (x,) in torch.utils.data.DataLoader(data, batch_size=16, shuffle=True):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(TRAINING)
        command = [sys.executable, str(script)]
        for _ in range(times):
            done = hotlap.compare(command, command, run_dir=Path(folder) / "runs", fresh=True, budget=40)
            verdicts.append(
                {
                    "judgement": done.judgement,
                    "ratio": round(done.effect.ratio, 4),
                    "interval": [round(done.effect.low, 4), round(done.effect.high, 4)],
                    "pairs": [round(pair, 4) for pair in done.effect.pairs],
                    "same_training": done.same_training.same,
                }
            )
            print(f"{len(verdicts)}: {verdicts[-1]}", file=sys.stderr)
    keep(
        "identical",
        {
            "times": times,
            "called_faster": sum(each["judgement"] == "faster" for each in verdicts),
            "called_slower": sum(each["judgement"] == "slower" for each in verdicts),
            "comparisons": verdicts,
        },
    )


if __name__ == "__main__":
    main()
