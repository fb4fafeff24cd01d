"""The estimated peak of allocated memory against the real one, of the same trainings on the CPU.

    python benchmarks/estimate/memory.py [--only WORD]

Each training has a process of its own, in which it is estimated (imitated tensors), followed as it runs (real tensors),
and runs by itself, two steps, while torch's profiler records every allocation and release of the CPU's allocator. The
state in 8 bits is that of bitsandbytes, which has to be installed for it. Writes ``results/estimate/memory.json`` and
``.md``.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from machine import RESULTS, circumstances, sentence

from cases import CASES
from hotlap.estimate import onednn
from hotlap.estimate.memory import estimate, track
from hotlap.estimate.timeline import peak

MIB = 2**20
MEDIAN, WORST = 0.03, 0.10


def real_peak(build: Any, steps: int = 2) -> int:
    """Most bytes that the CPU's allocator had given out at once, between nothing and the end of the last step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = build()
        for _ in range(steps):
            step()
    assert profiler.profiler is not None
    roots = profiler.profiler.kineto_results.experimental_event_tree()
    most, waiting = 0, list(roots)
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.name == "[memory]":
            most = max(most, event.extra_fields.total_allocated)
    return most


def compared(build: Any) -> dict[str, Any]:
    began = time.monotonic()
    known = estimate(build, device="cpu")
    seconds = time.monotonic() - began
    followed = peak(track(build, hidden=onednn.hidden)).size
    gc.collect()
    real = real_peak(build)
    return {
        "estimated": known.allocated,
        "followed": followed,
        "real": real,
        "error": known.allocated / real - 1,
        "tensors": known.allocated - known.categories.get("workspace", 0),
        "seconds": seconds,
        "moment": f"step {known.moment.step}, {known.moment.phase}",
        "categories": known.categories,
    }


def apart(name: str) -> dict[str, Any]:
    """In a process of its own, so that nothing is left of another training."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def page(figures: dict[str, Any]) -> str:
    lines = [
        "# Memory: estimated against real peaks",
        "",
        sentence(figures),
        "",
        "Peaks of two steps on the CPU, MiB. *Estimated*: without memory. *Followed*: the same tracker on real "
        "tensors. *Real*: what torch's profiler says of the CPU's allocator. The error is estimated against real.",
        "",
        "The state in 8 bits is that of bitsandbytes. On a CPU its update has five float32 copies of a parameter at a "
        "time, which its kernels for CUDA do not have: the estimate has them for this comparison alone, and the "
        "tracker does not see into that operator.",
        "",
        "| training | estimated | followed | real | error | seconds | peak in |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["trainings"].items():
        sizes = " | ".join(f"{row[way] / MIB:.1f}" for way in ("estimated", "followed", "real"))
        lines.append(f"| {name} | {sizes} | {row['error']:+.2%} | {row['seconds']:.1f} | {row['moment']} |")
    lines += [
        "",
        f"Median error {figures['median_error']:.2%} (asked: 3 %), worst {figures['worst_error']:.2%} (10 %).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="trainings with this word in their name; nothing is written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        print(json.dumps(compared(CASES[args.one])))
        return
    figures: dict[str, Any] = circumstances()
    rows: dict[str, Any] = {}
    for name in [name for name in CASES if args.only in name]:
        rows[name] = row = apart(name)
        sizes = ", ".join(f"{way} {row[way] / MIB:.2f}" for way in ("estimated", "followed", "real"))
        print(f"{name}: {sizes} MiB, {row['error']:+.2%}", file=sys.stderr)
    errors = [abs(row["error"]) for row in rows.values()]
    figures |= {"trainings": rows, "median_error": statistics.median(errors), "worst_error": max(errors)}
    print(f"median {figures['median_error']:.2%}, worst {figures['worst_error']:.2%}", file=sys.stderr)
    if args.only:
        return
    folder = RESULTS / "estimate"
    folder.mkdir(exist_ok=True)
    (folder / "memory.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "memory.md").write_text(page(figures))
    print(page(figures))
    sys.exit(figures["median_error"] > MEDIAN or figures["worst_error"] > WORST)


if __name__ == "__main__":
    main()
