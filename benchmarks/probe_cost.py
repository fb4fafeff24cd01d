"""What the probe costs a training whose step takes about 3 ms.

    python benchmarks/probe_cost.py [--processes N] [--pairs N]

    wrapped  |===|      |===||===|      |===|      one process: the same training goes on, block by block, with torch
    not           |===||===|      |===||===|       as the probe wraps it and with torch as it was

Two processes of the same script differ by more than the probe costs, so each comparison is made inside one. A pair is
a block of each, 20 steps after 5 that do not count; the result is the median of the pairs' differences with an
interval. It is in processor time of the training thread, which hardly moves when other work takes the cores; the
clock's difference is given beside it. The script trains on one thread: 16 modules and a loss module, a loader in the
same process, AdamW, clipping and ``zero_grad``. Writes ``results/probe_cost.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import builtins
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from machine import RESULTS, circumstances, median_interval, sentence

from hotlap.records import write_whole


def measure(folder: str, pairs: int) -> dict[str, Any]:
    """Runs in a process of its own: differences in seconds a step, wrapped less not wrapped."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    switch = probe_switch(torch, folder)
    layers: list[torch.nn.Module] = []
    for _ in range(7):
        layers += [torch.nn.Linear(192, 192), torch.nn.GELU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(192, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    criterion = torch.nn.MSELoss()
    data = torch.utils.data.TensorDataset(torch.randn(64 * 64, 192), torch.randn(64 * 64, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=64)

    def batches() -> Any:
        while True:
            yield from loader

    feed = batches()

    def steps(count: int) -> tuple[float, float]:
        cpu, clock = time.thread_time(), time.perf_counter()
        for _ in range(count):
            x, y = next(feed)
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return (time.thread_time() - cpu) / count, (time.perf_counter() - clock) / count

    def block(wrapped: bool) -> tuple[float, float]:
        switch(wrapped)
        steps(5)
        return steps(20)

    block(True), block(False)
    measured = []
    for number in range(pairs):
        order = (True, False) if number % 2 else (False, True)
        of = {wrapped: block(wrapped) for wrapped in order}
        measured.append((*of[True], *of[False]))
    switch(True)
    return {"pairs": measured}


def probe_switch(torch: Any, folder: str) -> Callable[[bool], None]:
    """Install the probe; return a function that puts torch back as it was, or wraps it again."""
    from hotlap.probe import Settings, hooks

    data, utils = torch.utils.data, torch.nn.utils
    every_optimizer = sys.modules["torch.optim.optimizer"]
    fetchers = data._utils.fetch._BaseDatasetFetcher.__subclasses__()
    owners = [torch, torch.nn.Module, torch.Tensor, torch.autograd, torch.utils.checkpoint, torch.optim.Optimizer]
    owners += [torch.amp.GradScaler, utils, utils.clip_grad, torch.serialization, builtins, json, logging.Logger]
    owners += [data.DataLoader, data.dataloader._BaseDataLoaderIter, *fetchers]
    before = [dict(vars(owner)) for owner in owners]
    hooks.install(torch, Settings({"run_dir": folder}), time.perf_counter())
    changed = [
        (owner, name, old[name], vars(owner)[name])
        for owner, old in zip(owners, before, strict=True)
        for name in old
        if vars(owner)[name] is not old[name]
    ]
    calls = [every_optimizer._global_optimizer_pre_hooks, every_optimizer._global_optimizer_post_hooks]
    registered = [dict(each) for each in calls]

    def switch(wrapped: bool) -> None:
        for owner, name, plain, wrapper in changed:
            setattr(owner, name, wrapper if wrapped else plain)
        for each, kept in zip(calls, registered, strict=True):
            each.clear()
            each.update(kept if wrapped else {})

    return switch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=150, help="in each process")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.pairs)))
        return
    about = circumstances()
    pairs: list[list[float]] = []
    own = []
    for number in range(arguments.processes):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--measure", folder, "--pairs", str(arguments.pairs)]
            pairs += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["pairs"]
            lines = (Path(folder) / "steps.jsonl").read_text().splitlines()
        facts = [json.loads(line) for line in lines if '"k": "facts"' in line]
        own.append(facts[-1]["probe_seconds"])
        print(f"{number + 1} of {arguments.processes}", file=sys.stderr)
    cpu = median_interval([pair[0] - pair[2] for pair in pairs])
    clock = median_interval([pair[1] - pair[3] for pair in pairs])
    step = median(pair[2] for pair in pairs)
    result = {
        **about,
        "load_after": os.getloadavg()[0],
        "processes": arguments.processes,
        "n": len(pairs),
        "confidence": cpu[3],
        "step_seconds": step,
        "cost_seconds": {"median": cpu[0], "low": cpu[1], "high": cpu[2]},
        "cost_seconds_on_the_clock": {"median": clock[0], "low": clock[1], "high": clock[2]},
        "probe_seconds": own,
        "pairs": pairs,
    }
    write_whole(RESULTS / "probe_cost.json", msgspec.json.encode(result) + b"\n")
    text = (
        f"# What the probe costs\n\nA step of {step * 1e3:.2f} ms with 17 calls of modules takes "
        f"**{cpu[0] * 1e6:.0f} µs** more with the probe, {100 * cpu[0] / step:.2f} %.\n\n"
        f"- Processor time of the training thread: median of {len(pairs)} pairs of blocks in {arguments.processes} "
        f"processes, {100 * cpu[3]:.0f} % interval {cpu[1] * 1e6:.0f} to {cpu[2] * 1e6:.0f} µs.\n"
        f"- On the clock: {clock[0] * 1e6:.0f} µs, interval {clock[1] * 1e6:.0f} to {clock[2] * 1e6:.0f} µs.\n"
        f"- The probe's own estimate (`probe_seconds`): {median(own) * 1e6:.0f} µs. It times its own code, "
        "most of it while\n"
        "  that is in the processor's caches; in a training each step's arithmetic has replaced it there.\n\n"
        f"{sentence(about)}\n"
    )
    write_whole(RESULTS / "probe_cost.md", text)
    print(text)


if __name__ == "__main__":
    main()
