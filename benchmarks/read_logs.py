"""How fast ``hotlap read`` reads logs, by format, and in how much memory.

    python benchmarks/read_logs.py [MEGABYTES]

For each format a log of so many megabytes (64 by default) is made, with the lines that its program prints and numbers
that change, and read three times in a fresh process, whose peak of memory is noted. The median counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from machine import RESULTS, circumstances, sentence

GOAL = 20.0
PASSES = 3

Line = Callable[[int], str]


def _seconds(step: int) -> float:
    return 0.4 + (step * 7919 % 1000) / 5000


def _loss(step: int) -> float:
    return 1 / (1 + step / 1000) + (step * 104729 % 1000) / 10000


FORMATS: dict[str, Line] = {
    "VRT-Spike": lambda i: (
        f"step {i}/99999999 | loss={_loss(i):.4f} charb={_loss(i):.4f} vgg={_loss(i):.4f} lr=9.80e-06 | "
        f"GPU0_mem=1.3GB | {1.5 / _seconds(i):.1f} samples/s | data_time={_seconds(i) / 4:.1f}ms\n"
    ),
    "BasicSR": lambda i: (
        f"2022-12-29 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d},074 INFO: [Retin..][epoch:{i // 1000:3d}, "
        f"iter:{i:8,d}, lr:(1.441e-04,)] [eta: 2:54:28, time (data): {_seconds(i):.3f} (0.001)] l_pix: {_loss(i):.4e}\n"
    ),
    "timm": lambda i: (
        f"Train: {i // 1000} [{i % 1000:4d}/1000 ({i % 1000 // 10:3d}%)]  Loss: {_loss(i):.3g} ({_loss(i):.4g})  "
        f"Time: {_seconds(i):.3f}s, {256 / _seconds(i):7.2f}/s  (0.500s,  512.00/s)  LR: 1.000e-06  "
        "Data: 0.012 (0.080)\n"
    ),
    "Swin": lambda i: (
        f"[2024-07-27 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d} vssm1] (main.py 295): INFO Train: "
        f"[{i // 1000}/300000][{i % 1000}/1000]\teta 1:28:53 lr 0.000872\t wd 0.0500\ttime {_seconds(i):.4f} (1.8785)\t"
        f"loss {_loss(i):.4f} (6.9000)\tdata time 0.0007 (1.4406)\tmem 16138MB\n"
    ),
    "mmengine": lambda i: (
        f"03/25 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d} - mmengine - INFO - Epoch(train) "
        f"[{1 + i // 5000}][{i % 5000:4d}/5000]  base_lr: 2.0000e-03 lr: 5.9600e-05  eta: 12:14:32  "
        f"time: {_seconds(i):.4f}  data_time: 0.0205  memory: 7657  grad_norm: 993.2860  loss: {_loss(i):.4f}\n"
    ),
    "mmcv JSON": lambda i: (
        f'{{"mode": "train", "epoch": {i // 5000}, "iter": {i}, "lr": 1e-05, "memory": 9810, "data_time": 0.02951, '
        f'"time": {_seconds(i):.5f}, "loss_cls": {_loss(i):.5f}, "loss": {_loss(i):.5f}}}\n'
    ),
    "detectron2": lambda i: (
        f"[08/14 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d} d2.utils.events]:  eta: 0:22:36  iter: {i}  "
        f"total_loss: {_loss(i):.4g}  loss_cls: 0.07042  time: {_seconds(i):.4f}  data_time: 0.0458  lr: 0.0003  "
        "max_mem: 1962M\n"
    ),
    "maskrcnn-benchmark": lambda i: (
        f"eta: 1:05:16  iter: {i}  loss: {_loss(i):.4f} (0.0215)  time: {_seconds(i):.4f} (0.9792)  "
        "data: 0.0123 (0.0197)  lr: 0.000009  max mem: 8478\n"
    ),
    "nanoGPT": lambda i: f"iter {i}: loss {_loss(i):.4f}, time {1e3 * _seconds(i):.2f}ms, mfu 15.34%\n",
    "torchtitan": lambda i: (
        f"[rank0]:[titan] 2026-05-18 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d},338 - root - INFO - step: "
        f"{i:2d}  loss:  {_loss(i):.5f}  grad_norm:  0.8319  memory:  9.46GiB(64.99%)  tps: {4000 / _seconds(i):,.0f}  "
        "tflops: 0.52  mfu: 0.17%\n"
    ),
    "Hugging Face Trainer": lambda i: (
        f"{{'loss': {_loss(i):.4f}, 'grad_norm': 1.2034567, 'learning_rate': 1.9e-04, 'epoch': {i / 1000:.2f}}}\n"
    ),
    "progress bar": lambda i: (
        f"\rEpoch {i // 1000}: {i % 1000 // 10:3d}%|████▌     | {i % 1000}/1000 "
        f"[{i % 1000 // 60:02d}:{i % 60:02d}<00:26,  {1 / _seconds(i):.2f}it/s, Loss={_loss(i):.4f}]"
    ),
    "timing": lambda i: (
        f"{'=' * 80}\nStep {i}\n{'=' * 80}\n"
        f"前向传播总耗时                                 : {2e3 * _seconds(i) + 6:8.2f}ms ( 50.0%) [avg:  1789.72ms]\n"
        f"VRT处理                                   : {2e3 * _seconds(i):8.2f}ms ( 49.9%) [avg:  1780.10ms]\n"
        f"  - Stage8                              : {1e3 * _seconds(i):8.2f}ms [avg:   960.00ms]\n"
        f"  - Stage2                              : {5e2 * _seconds(i):8.2f}ms [avg:   271.33ms]\n"
        "Spike编码器                               :     2.16ms (  0.1%) [avg:     2.20ms]\n\n"
        f"Total-----------------------------------: {4e3 * _seconds(i) + 8:8.2f}ms\n"
    ),
    "memory and caches among VRT-Spike": lambda i: (
        FORMATS["VRT-Spike"](i)
        if i % 10
        else f"[Step {i}] Memory - Process: {15000 + i % 100}.9MB (6.1%), System: 125.4/256.0GB (49.0%)\n"
        f"Cache hit rate: 45.2% ({45 * i} hits / {55 * i} misses)\n"
    ),
    "lines of no format": lambda i: (
        f"2022-12-29 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d},074 DEBUG worker {i % 8} fetched sample {i} "
        f"of shard {i // 1000} in {_seconds(i):.3f} seconds, queue {i % 17}\n"
    ),
}

READ = """
import json, resource, sys, time
from pathlib import Path
from hotlap.read.lines import Text
from hotlap.read.opening import opened
from hotlap.read.state import State

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began, busy = time.perf_counter(), time.process_time()
with opened(Path(sys.argv[1])) as file:
    state = State()
    state.read(Text(file, "log"), "log")
seconds, busy = time.perf_counter() - began, time.process_time() - busy
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, busy, peak - before, state.sources[0].formats]))
"""


def main() -> None:
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 64_000_000
    about = circumstances()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, line in FORMATS.items():
            rows[name] = _measured(name, line, Path(folder) / "log", size)
            print(name, rows[name], file=sys.stderr)
    _write(about, rows, size)


def _measured(name: str, line: Line, path: Path, size: int) -> dict[str, float]:
    written = step = 0
    with path.open("w", newline="") as file:
        while written < size:
            step += 1
            text = line(step)
            written += len(text.encode())
            file.write(text)
    passes = []
    for _ in range(PASSES):
        done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
        passes.append(json.loads(done.stdout))
    known = sum(passes[0][3].values())
    return {
        "megabytes": written / 1e6,
        "lines": step,
        "understood": known,
        "seconds": median(seconds for seconds, *_ in passes),
        "megabytes_per_second": written / 1e6 / median(seconds for seconds, *_ in passes),
        "megabytes_per_processor_second": written / 1e6 / median(busy for _, busy, *_ in passes),
        "memory_megabytes": max(memory for _, _, memory, _ in passes) / 1e3,
    }


def _write(about: dict[str, object], rows: dict[str, dict[str, float]], size: int) -> None:
    slowest = min(rows, key=lambda name: rows[name]["megabytes_per_processor_second"])
    slow = [name for name, row in rows.items() if row["megabytes_per_processor_second"] < GOAL]
    lines = [
        "# How fast logs are read",
        "",
        sentence(about),
        "",
        f"Logs of {size / 1e6:.0f} MB, each of one format, made up; the median of {PASSES} readings, each in a process "
        "of its own. The second figure is by processor time, which other programs on the machine change less; reading "
        "takes one core. Memory: by how much its peak lies above that before reading.",
        "",
        "| format | MB/s | MB/s of processor time | memory, MB |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        by_core = row["megabytes_per_processor_second"]
        lines.append(f"| {name} | {row['megabytes_per_second']:.0f} | {by_core:.0f} | {row['memory_megabytes']:.0f} |")
    verdict = f"missed by {', '.join(slow)}" if slow else f"reached: the slowest is {slowest}"
    lines += ["", f"The goal of {GOAL:.0f} MB/s of processor time is {verdict}."]
    (RESULTS / "read_logs.md").write_text("\n".join(lines) + "\n")
    (RESULTS / "read_logs.json").write_text(json.dumps({**about, "formats": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
