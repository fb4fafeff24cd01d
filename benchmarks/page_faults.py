"""What it costs a training on a CPU that freed memory goes back to the kernel.

    python benchmarks/page_faults.py [LAUNCHES]

The network of ``configs/restoration.yaml`` at its sizes, in float32, in fresh processes that alternate: glibc's malloc
as it is, and told to keep what is freed. Writes ``results/page_faults.json``: milliseconds a step (median of 40), page
faults and seconds in the kernel a step.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

from machine import keep

WARM, STEPS = 15, 40


def measure(way: str) -> dict[str, float]:
    """Runs in a process of its own."""
    import torch

    from hotlap.allocator import keep_freed_memory
    from hotlap.workloads.restoration.network import RestorationNet

    if way == "kept":
        assert keep_freed_memory() is None
    torch.manual_seed(0)
    model = RestorationNet(base_channels=32, num_blocks=4)
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(2, 16, 3, 64, 64)
    seconds = []
    for step in range(WARM + STEPS):
        if step == WARM:
            before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        optimizer.zero_grad()
        (model(x) - y).abs().mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "step_ms": 1e3 * median(seconds[WARM:]),
        "faults": (after.ru_minflt - before.ru_minflt) / STEPS,
        "system_ms": 1e3 * (after.ru_stime - before.ru_stime) / STEPS,
        "peak_mb": after.ru_maxrss / 1024,
    }


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    pairs: list[dict[str, Any]] = []
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 7):
        order = ("usual", "kept") if number % 2 == 0 else ("kept", "usual")
        pair = {}
        for way in order:
            command = [sys.executable, __file__, "--measure", way]
            pair[way] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        pairs.append({**pair, "ratio": pair["usual"]["step_ms"] / pair["kept"]["step_ms"]})
        print(pairs[-1], file=sys.stderr)
    ratios = [pair["ratio"] for pair in pairs]
    per_fault = [1e3 * pair["usual"]["system_ms"] / pair["usual"]["faults"] for pair in pairs]
    keep(
        "page_faults",
        {
            "launches": len(pairs),
            "ratio": {"median": median(ratios), "low": min(ratios), "high": max(ratios)},
            "kernel_us_per_fault": {"median": median(per_fault), "low": min(per_fault), "high": max(per_fault)},
            "pairs": pairs,
        },
    )


if __name__ == "__main__":
    main()
