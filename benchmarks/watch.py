"""What `hotlap watch` costs: processor time of a watch while a real training runs, in per cent of one core.

    python benchmarks/watch.py [SECONDS]

`hotlap profile` runs a small training whose loader has two workers, once with batches that take some milliseconds and
once with steps as fast as they come. Each is watched at one look a second: on a terminal of 80 x 24, as lines and as
JSON. Counted is the processor time of the watch (user and kernel, all its threads) between two moments, the start and
the end left out; the start is shown apart. No GPU takes part: what its driver takes for an answer comes on top.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import machine
import psutil

#: Per cent of one core.
GOAL = 2.0
TRAINING = """
import sys, time, torch
from torch.utils.data import DataLoader, Dataset

class Samples(Dataset):
    def __len__(self):
        return 10_000_000

    def __getitem__(self, index):
        if {wait}:
            time.sleep({wait})
        return self.x[index % 64], self.y[index % 64]

    x, y = torch.randn(64, 64), torch.randn(64, 1)

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(Samples(), batch_size={batch}, num_workers=2)
for x, y in loader:
    for _ in range({repeats}):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
"""
#: Seconds for a sample, samples of a batch, and steps that are made of a batch.
TRAININGS = {"steps of some ms": (0.002, 8, 1), "steps as fast as they come": (0.0, 8, 8)}
VIEWS = {"terminal of 80 x 24": (), "lines": (), "JSON": ("--json",)}


def watched(name: str, folder: Path, view: str, seconds: float) -> dict[str, Any]:
    """Processor seconds of one watch: until its first look, and per second from then on."""
    command = [sys.executable, "-m", "hotlap", "watch", name, *VIEWS[view]]
    terminal = view.startswith("terminal")
    main, child = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, stdin=child if terminal else subprocess.DEVNULL, stdout=child, stderr=subprocess.STDOUT
    )
    os.close(child)
    seen = psutil.Process(process.pid)
    os.read(main, 1)
    os.set_blocking(main, False)
    drained(main, 2.0)  # the first look takes longer: it reads what was there before
    before, began = cpu(seen), time.perf_counter()
    drained(main, seconds)
    spent, passed = cpu(seen) - before, time.perf_counter() - began
    process.send_signal(signal.SIGINT)
    drained(main, 1.0)
    os.close(main)
    process.wait(20)
    return {"start_seconds": before, "percent_of_a_core": 100 * spent / passed, "seconds": passed}


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def drained(descriptor: int, seconds: float) -> None:
    """Read, as a terminal does, for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        try:
            if not os.read(descriptor, 1 << 16):
                return
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # the other end of a terminal is closed
            return


def measure(training: str, folder: Path, seconds: float) -> list[dict[str, Any]]:
    from hotlap.launch import Limits, Plan, Training
    from hotlap.launch.rundir import read_lines

    wait, batch, repeats = TRAININGS[training]
    script = folder / "train.py"
    script.write_text(TRAINING.format(wait=wait, batch=batch, repeats=repeats))
    directory = folder / ".hotlap" / "runs" / training.replace(" ", "-")
    rows = []
    with Training([sys.executable, str(script)], directory, Plan(), Limits()) as running:
        time.sleep(8.0)
        for view in VIEWS:
            lines = sum(line["k"] == "step" for line in read_lines(directory / "steps.jsonl"))
            began = time.perf_counter()
            found = watched(directory.name, folder, view, seconds)
            running.poll()
            steps = sum(line["k"] == "step" for line in read_lines(directory / "steps.jsonl")) - lines
            rate = steps / (time.perf_counter() - began)
            rows.append({"training": training, "steps_per_second": rate, "view": view, **found})
        if running.exit is not None:
            raise SystemExit(f"the training ended too early: {running.tail()}")
    return rows


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    rows: list[dict[str, Any]] = []
    about = machine.circumstances()
    for training in TRAININGS:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(training, Path(folder), seconds)
    machine.keep("watch", {"goal_percent_of_a_core": GOAL, "rows": rows})
    lines = ["# What a watch costs", "", machine.sentence(about), ""]
    lines += [
        "One look a second at a training with two loader workers, no GPU; the goal is less than 2 % of one core.",
        "",
    ]
    lines += ["| training | steps/s | shown as | of one core | start, once |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['training']} | {row['steps_per_second']:.0f} | {row['view']} | {row['percent_of_a_core']:.2f} % | "
        f"{row['start_seconds']:.2f} s |"
        for row in rows
    ]
    worst = max(row["percent_of_a_core"] for row in rows)
    lines += ["", f"The goal is {'met' if worst < GOAL else 'not met'}: {worst:.2f} % at most."]
    text = "\n".join(lines) + "\n"
    (machine.RESULTS / "watch.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
