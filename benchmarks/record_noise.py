"""What identical trainings differ by on this machine, recorded, so that a tuning can be simulated on it.

    python benchmarks/record_noise.py LABEL [--pairs 60] [--launches 16] [--only conv]

LABEL says what the machine was doing ("quiet", "shared"). Three small trainings, each measured against itself in the
three ways of a tuning and a comparison:

    one process      consecutive blocks of one training
    two processes    blocks of two trainings that live side by side, alternating            (the search)
    launches         pairs of fresh processes with a seed each, parts of them alternating   (the claim)

Writes ``results/noise/LABEL.json``: per block [second, samples per second of A, of B, longest step over the median
one of A, of B, cores that others held meanwhile]. `false_alarms.py` reads it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from machine import RESULTS, circumstances

from hotlap.launch import Limits, environment
from hotlap.launch.load import cpu_pressure, during
from hotlap.records import Step
from hotlap.tune.arms import BLOCK_SECONDS, BLOCK_STEPS, Arm, throughput
from hotlap.tune.proof import PARTS, WARM_UP_PARTS
from hotlap.tune.target import Target

#: Seconds that each training of a pair of launches is measured for, its warm-up among them.
LAUNCH_SECONDS = 2.5

#: What keeps two cores busy; what is bound by Python; what waits for a worker.
TRAININGS = {
    "conv": """\
import torch
torch.set_num_threads(2)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 3))
optimizer = torch.optim.Adam(model.parameters())
data = torch.randn(16, 3, 64, 64)
while True:
    loss = model(data).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "small": """\
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(*[torch.nn.Linear(32, 32) for _ in range(20)])
optimizer = torch.optim.Adam(model.parameters(), foreach=False)
data = torch.randn(16, 32)
while True:
    loss = model(data).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "loader": """\
import torch
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
torch.manual_seed(0)
class Samples(Dataset):
    def __len__(self):
        return 1000000
    def __getitem__(self, index):
        return torch.randn(64, 64) @ torch.randn(64, 64)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for x in DataLoader(Samples(), batch_size=32, num_workers=1):
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("label")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--launches", type=int, default=16)
    parser.add_argument("--only", choices=list(TRAININGS))
    options = parser.parse_args()
    about, began, pressure = circumstances(), time.monotonic(), cpu_pressure()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in TRAININGS.items():
            if options.only in (None, name):
                found[name] = record(Path(folder) / name, text, options.pairs, options.launches)
    seconds, waited = time.monotonic() - began, cpu_pressure()
    about |= {
        "label": options.label,
        "seconds": round(seconds),
        "load_after": round(os.getloadavg()[0], 2),
        "pressure": None if pressure is None or waited is None else round((waited - pressure) / seconds, 3),
        "columns": ["second", "a", "b", "longest_a", "longest_b", "others"],
        "trainings": found,
    }
    (RESULTS / "noise").mkdir(exist_ok=True)
    # A line a row of figures: short, and a change can still be read.
    text = json.dumps(about).replace("], [", "],\n[")
    (RESULTS / "noise" / f"{options.label}.json").write_text(text + "\n")


def record(folder: Path, text: str, pairs: int, launches: int) -> dict[str, Any]:
    folder.mkdir()
    script = folder / "train.py"
    script.write_text(text)
    target, here, made = Target.of_command([sys.executable, str(script)]), environment(), []

    def arm(seed: int = 0) -> Arm:
        made.append(Arm(target, [], folder / f"arm-{len(made)}", here, limits=Limits(), seed_offset=seed))
        return made[-1]

    began = time.perf_counter()

    def row(blocks: dict[str, list[Step]], taken: list[float | None]) -> list[Any]:
        known = [each for each in taken if each is not None]
        return [
            round(time.perf_counter() - began, 2),
            *(round(throughput(blocks[name]), 3) for name in "ab"),
            *(round(longest(blocks[name]), 2) for name in "ab"),
            round(sum(known) / len(known), 2) if known else None,
        ]

    def pair(a: Arm, b: Arm, number: int, until: int | None = None) -> list[Any] | None:
        blocks: dict[str, list[Step]] = {}
        taken: list[float | None] = []
        for name in "ab" if number % 2 == 0 else "ba":
            each = a if name == "a" else b
            run = each.block if until is None else partial(each.train_until, until)
            blocks[name], held = during(each.start().pid, each.environment.cores, run)
            taken.append(held.others)
        return row(blocks, taken) if all(blocks.values()) else None

    try:
        alone = arm()
        alone.warm()
        one = [pair(alone, alone, number) for number in range(pairs // 2)]
        other = arm()
        other.warm()
        two = [pair(alone, other, number) for number in range(pairs)]
        step = median(each.wall for each in alone.so_far().steps)
        alone.close()
        other.close()
        print(f"{folder.name}: {1e3 * step:.1f} ms a step, blocks done", file=sys.stderr)
        steps = max(PARTS * BLOCK_STEPS, math.ceil(LAUNCH_SECONDS / step))
        fresh = []
        for seed in range(launches):
            begun = time.perf_counter()
            a, b = arm(seed), arm(seed)
            parts = [pair(a, b, part, math.ceil(steps * (part + 1) / PARTS)) for part in range(PARTS)]
            a.close()
            b.close()
            fresh.append({"seconds": round(time.perf_counter() - begun, 1), "parts": parts[WARM_UP_PARTS:]})
            ratio = median(each[2] / each[1] for each in fresh[-1]["parts"] if each)
            print(f"{folder.name}: launch {seed}, {ratio:.3f}", file=sys.stderr)
    finally:
        for each in made:
            each.close()
    return {
        "step_ms": round(1e3 * step, 2),
        "block_seconds": BLOCK_SECONDS,
        "launch_steps": steps,
        "one_process": one,
        "two_processes": two,
        "launches": fresh,
    }


def longest(block: list[Step]) -> float:
    walls = [step.wall for step in block]
    return max(walls) / median(walls)


if __name__ == "__main__":
    main()
