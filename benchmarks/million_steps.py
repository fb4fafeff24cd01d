"""How the probe's memory grows with the steps: a million of them, as cheap as they can be.

    python benchmarks/million_steps.py [STEPS]

One and the same loop runs with the probe inside and without. Each says its resident memory at eight points; what
the probe adds must not grow with the steps. The record itself grows, on the disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LOOP = """
import json, os, sys
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def forward(self, x):
        return self.weight

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

torch.set_num_threads(1)
model, steps = Model(), int(sys.argv[1])
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
points = {steps * part // 8 for part in range(1, 9)}
for step in range(1, steps + 1):
    model(None).backward()
    optimizer.step()
    if step in points:
        print(json.dumps([step, resident()]), flush=True)
"""


def measure(steps: int, folder: Path) -> dict[str, list[list[int]]]:
    """Resident bytes of the loop by step, ``with`` the probe and ``without``."""
    from hotlap.launch import Limits, Plan, Training
    from hotlap.launch.rundir import read_lines

    command = [sys.executable, "-c", LOOP, str(steps)]
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with Training(command, folder / "run", Plan(), Limits(silence=3600.0)) as training:
        training.wait()
    assert training.exit is not None
    if training.exit["exit"] != 0:
        raise SystemExit(training.tail())
    recorded = sum(line["k"] == "step" for line in read_lines(folder / "run" / "steps.jsonl"))
    if recorded != steps:
        raise SystemExit(f"{recorded} of {steps} steps were recorded")
    return {
        name: [json.loads(line) for line in output.splitlines()]
        for name, output in (("without", alone), ("with", (folder / "run" / "output.log").read_text()))
    }


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(steps, Path(folder))
    lines = ["# Memory of the probe over a million steps", "", "Resident memory of one loop, in MB.", ""]
    lines += ["| steps | without | with the probe | difference |", "|---|---|---|---|"]
    for (step, without), (_, within) in zip(measured["without"], measured["with"], strict=True):
        lines.append(f"| {step} | {without / 1e6:.1f} | {within / 1e6:.1f} | {(within - without) / 1e6:.1f} |")
    (_, first), *_, (_, last) = measured["with"]
    lines += ["", f"From an eighth of the steps to their end the process with the probe grew by {last - first} bytes."]
    text = "\n".join(lines) + "\n"
    print(text)
    results = Path(__file__).parent / "results"
    (results / "million_steps.md").write_text(text)
    (results / "million_steps.json").write_text(json.dumps({"steps": steps} | measured) + "\n")


if __name__ == "__main__":
    main()
