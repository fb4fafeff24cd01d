"""What measuring costs: hotlap's probe, TraceML's and train-doctor's, on steps of about 1, 3 and 30 ms.

    python benchmarks/overhead.py [--rounds N] [--pairs N] [--peers PYTHON]

    with     |===|      |===||===|      |===|      one process: the same training goes on, block by block, with torch
    without       |===||===|      |===||===|       as the tool wraps it and with torch as it was

Two processes of the same script differ by more than these tools cost, so a comparison is made inside one. A pair is a
block of each, 20 steps after 5 that do not count. The result is the median of the pairs' differences with an interval,
over processes that take turns, tool by tool and round by round. It is in processor time of the training thread, which
hardly moves when other work takes the cores; the clock's difference is given beside it. The tool ``none`` wraps
nothing: what it seems to cost is the error of the rest.

The script trains on one thread: linear layers, a loss module, a loader in the same process, AdamW, clipping and
``zero_grad``. TraceML needs its context manager around each step, and has it. All tools run in the interpreter PYTHON,
which has torch, traceml-ai and train-doctor; without it one is made in ``.hotlap/peers``. Writes
``results/overhead.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import builtins
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ("traceml-ai==0.5.0", "train-doctor==0.2.0")
TOOLS = ("none", "hotlap", "traceml", "train-doctor")
#: Layers, their width and the batch, of steps that take about so many milliseconds on one core.
SIZES = {"1 ms": (3, 64, 32), "3 ms": (7, 192, 64), "30 ms": (7, 640, 192)}

Around = Callable[[Any], AbstractContextManager[Any]]


def measure(tool: str, size: str, pairs: int, folder: str) -> dict[str, Any]:
    """Runs in a process of its own: seconds a step in each block, with the tool and without."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    switch, around = tool_switch(torch, tool, folder)
    depth, width, batch = SIZES[size]
    layers: list[torch.nn.Module] = []
    for _ in range(depth):
        layers += [torch.nn.Linear(width, width), torch.nn.GELU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    criterion = torch.nn.MSELoss()
    data = torch.utils.data.TensorDataset(torch.randn(batch * 64, width), torch.randn(batch * 64, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=batch)

    def batches() -> Any:
        while True:
            yield from loader

    feed = batches()

    def steps(count: int, context: Around) -> tuple[float, float]:
        cpu, clock = time.thread_time(), time.perf_counter()
        for _ in range(count):
            with context(model):
                x, y = next(feed)
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        return (time.thread_time() - cpu) / count, (time.perf_counter() - clock) / count

    def block(wrapped: bool) -> tuple[float, float]:
        switch(wrapped)
        context = around if wrapped else nullcontext
        steps(5, context)
        return steps(20, context)

    block(True), block(False)
    measured = []
    for number in range(pairs):
        order = (True, False) if number % 2 else (False, True)
        of = {wrapped: block(wrapped) for wrapped in order}
        measured.append((*of[True], *of[False]))
    switch(True)
    return {"pairs": measured, "calls": len(layers) + 3}


def tool_switch(torch: Any, tool: str, folder: str) -> tuple[Callable[[bool], None], Around]:
    """Install the tool; return what puts torch back as it was or wraps it again, and what goes around a step."""
    data, utils = torch.utils.data, torch.nn.utils
    every_optimizer = sys.modules["torch.optim.optimizer"]
    fetchers = data._utils.fetch._BaseDatasetFetcher.__subclasses__()
    optimizers = [torch.optim.Optimizer, torch.optim.AdamW]
    owners = [torch, torch.nn.Module, torch.Tensor, torch.autograd, torch.utils.checkpoint, *optimizers]
    owners += [torch.amp.GradScaler, utils, utils.clip_grad, torch.serialization, builtins, json, logging.Logger]
    iterators = data.dataloader._BaseDataLoaderIter
    owners += [data.DataLoader, iterators, *iterators.__subclasses__(), *fetchers]
    calls = [every_optimizer._global_optimizer_pre_hooks, every_optimizer._global_optimizer_post_hooks]
    before = [dict(vars(owner)) for owner in owners]
    around = install(torch, tool, folder)
    changed = []
    for owner, old in zip(owners, before, strict=True):
        new = dict(vars(owner))
        changed += [(owner, name, old.get(name), new[name]) for name in new if new[name] is not old.get(name)]
    registered = [dict(each) for each in calls]

    def switch(wrapped: bool) -> None:
        for owner, name, plain, wrapper in changed:
            if wrapped:
                setattr(owner, name, wrapper)
            elif plain is not None:
                setattr(owner, name, plain)
            elif name in vars(owner):
                delattr(owner, name)
        for each, kept in zip(calls, registered, strict=True):
            each.clear()
            each.update(kept if wrapped else {})

    return switch, around


def install(torch: Any, tool: str, folder: str) -> Around:
    if tool == "hotlap":
        from hotlap.probe import Settings, hooks

        hooks.install(torch, Settings({"run_dir": folder, "looks": True}), time.perf_counter())
    elif tool == "train-doctor":
        # It measures 50 steps and ends the run, unless told otherwise.
        os.environ.update(TRAIN_DOCTOR_RUN_DIR=folder, TRAIN_DOCTOR_STEPS="100000000")
        import train_doctor

        sys.path.insert(0, str(Path(train_doctor.__file__).parent / "_hook"))
        import td_hook  # type: ignore[import-not-found]

        td_hook.install()
    elif tool == "traceml":
        import traceml_ai

        traceml_ai.init(
            mode="auto", ui_mode="summary", logs_dir=folder, session_id="cost", on_missing_aggregator="raise"
        )
        around: Around = traceml_ai.trace_step
        return around
    return nullcontext


def run(python: str, tool: str, size: str, pairs: int) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        server = None
        if tool == "traceml":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            environment["TRACEML_AGGREGATOR_PORT"] = port
            words = [str(Path(python).parent / "traceml"), "serve", "--aggregator-port", port, "--logs-dir", folder]
            words += ["--run-name", "cost"]
            server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(4)
        try:
            command = [python, __file__, "--measure", folder, "--tool", tool, "--size", size, "--pairs", str(pairs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{tool} failed: {error.stderr}")
        finally:
            if server is not None:
                server.terminate()
                server.wait()
        line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
        found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
        steps = Path(folder) / "steps.jsonl"
        if steps.exists():
            facts = [json.loads(line) for line in steps.read_text().splitlines() if line.startswith('{"k": "facts"')]
            found["own"] = facts[-1]["probe_seconds"]
        return found


def peers_python() -> str:
    folder = ROOT / ".hotlap" / "peers"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
        subprocess.run([*pip, "torch==2.13.0", "numpy", *PEERS], check=True)
    return str(python)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    from machine import median_interval

    pairs = [pair for each in found for pair in each["pairs"]]
    cpu = median_interval([pair[0] - pair[2] for pair in pairs])
    clock = median_interval([pair[1] - pair[3] for pair in pairs])
    return {
        "step_seconds": median(pair[2] for pair in pairs),
        "calls": found[0]["calls"],
        "n": len(pairs),
        "confidence": cpu[3],
        "cost": {"median": cpu[0], "low": cpu[1], "high": cpu[2], "mean": fmean(pair[0] - pair[2] for pair in pairs)},
        "on_the_clock": {"median": clock[0], "low": clock[1], "high": clock[2]},
        "own": median(each["own"] for each in found) if "own" in found[0] else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="processes for each tool and size")
    parser.add_argument("--pairs", type=int, default=100, help="in each process; a third of it where steps take 30 ms")
    parser.add_argument("--peers", help="an interpreter that has torch, traceml-ai and train-doctor")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--tool", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        found = measure(arguments.tool, arguments.size, arguments.pairs, arguments.measure)
        print("RESULT " + json.dumps(found), flush=True)
        if arguments.tool != "hotlap":
            os._exit(0)  # the others write reports at the end, which is not what is measured
        return
    from machine import RESULTS, circumstances, sentence

    python = arguments.peers or peers_python()
    about = circumstances()
    about["command"] = about["command"].replace(f" --peers {arguments.peers}", "")
    everything: dict[str, dict[str, list[dict[str, Any]]]] = {size: {tool: [] for tool in TOOLS} for size in SIZES}
    for number in range(arguments.rounds):
        for size in SIZES:
            for tool in TOOLS if number % 2 else TOOLS[::-1]:
                pairs = arguments.pairs // 3 if size == "30 ms" else arguments.pairs
                everything[size][tool].append(run(python, tool, size, pairs))
        print(f"{number + 1} of {arguments.rounds}", file=sys.stderr)
    results = {size: {tool: summary(found) for tool, found in tools.items()} for size, tools in everything.items()}
    record = {**about, "load_after": os.getloadavg()[0], "rounds": arguments.rounds, "peers": PEERS, "results": results}
    (RESULTS / "overhead.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "# What measuring costs",
        "",
        "Microseconds that a step takes more with the tool than without: processor time of the training thread, median "
        "of pairs of blocks with a 95 % interval, the mean, and the median by the clock. hotlap's mean has the steps "
        "in it that are looked at from close by, which are set apart in its record.",
        "",
        "| step | calls of modules | tool | median | interval | share | mean | by the clock | pairs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for tools in results.values():
        for tool, each in tools.items():
            cost, step = each["cost"], each["step_seconds"]
            lines.append(
                f"| {step * 1e3:.2f} ms | {each['calls']} | {tool} | **{cost['median'] * 1e6:.1f}** | "
                f"{cost['low'] * 1e6:.1f} to {cost['high'] * 1e6:.1f} | {100 * cost['median'] / step:.2f} % | "
                f"{cost['mean'] * 1e6:.1f} | {each['on_the_clock']['median'] * 1e6:.1f} | {each['n']} |"
            )
    owns = ", ".join(f"{each['hotlap']['own'] * 1e6:.0f}" for each in results.values())
    lines += ["", f"What hotlap says of itself (`probe_seconds`): {owns} µs.", "", sentence(about), ""]
    (RESULTS / "overhead.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
