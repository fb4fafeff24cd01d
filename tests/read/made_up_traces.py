"""Traces made by hand, in microseconds, so that every figure can be checked by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

MAIN, AUTOGRAD = 100, 101


class MadeUp:
    """Collects events as kineto writes them."""

    def __init__(self, **header: Any) -> None:
        self.header: dict[str, Any] = {"schemaVersion": 1, **header}
        self.events: list[dict[str, Any]] = []
        self.calls = 0

    def span(self, category: str, name: str, start: float, end: float, thread: int = MAIN, **args: Any) -> None:
        self.events.append(
            {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": thread, "ts": start, "dur": end - start}
            | ({"args": args} if args else {})
        )

    def op(self, name: str, start: float, end: float, thread: int = MAIN) -> None:
        self.span("cpu_op", name, start, end, thread)

    def mark(self, name: str, start: float, end: float, thread: int = MAIN) -> None:
        self.span("user_annotation", name, start, end, thread)

    def step(self, number: int, start: float, end: float) -> None:
        self.mark(f"ProfilerStep#{number}", start, end)

    def runtime(self, name: str, start: float, end: float, thread: int = MAIN) -> None:
        self.span("cuda_runtime", name, start, end, thread)

    def kernel(
        self,
        launch: float,
        start: float,
        end: float,
        name: str = "gemm",
        *,
        stream: int = 7,
        thread: int = MAIN,
        device: int = 0,
        category: str = "kernel",
        call: tuple[str, float] = ("cudaLaunchKernel", 1.0),
    ) -> None:
        self.calls += 1
        self.span("cuda_runtime", call[0], launch, launch + call[1], thread, correlation=self.calls)
        args = {"device": device, "stream": stream, "correlation": self.calls}
        self.events.append(
            {"ph": "X", "cat": category, "name": name, "pid": device, "tid": stream, "ts": start, "dur": end - start}
            | {"args": args}
        )

    def text(self) -> str:
        return json.dumps(self.header | {"traceEvents": self.events, "traceName": "x"})

    def write(self, path: Path) -> Path:
        data = self.text().encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path


def training(steps: int = 2, **header: Any) -> MadeUp:
    """A step of 1000 µs: 300 of waiting for data, and from 400 to 900 two kernels and a collective.

    host    |loader 0-300 | launches at 390, 395, 400 ......................................|
    device                    gemm 400-600, relu 500-700        idle 800-850   gemm 850-900
                                              nccl 650-800
    """
    made = MadeUp(**header)
    for number in range(steps):
        at = 1_000_000 + 1000 * number
        made.step(number, at, at + 1000)
        made.mark("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", at, at + 300)
        made.op("aten::linear", at + 380, at + 398)
        made.op("aten::addmm", at + 385, at + 393)
        made.kernel(at + 390, at + 400, at + 600)
        made.kernel(at + 395, at + 500, at + 700, "relu", stream=8)
        made.mark("nccl:all_reduce", at + 399, at + 402)
        made.kernel(at + 400, at + 650, at + 800, "ncclDevKernel_AllReduce_Sum_f32", stream=9)
        made.op("autograd::engine::evaluate_function: AddmmBackward0", at + 820, at + 845, AUTOGRAD)
        made.kernel(at + 840, at + 850, at + 900, thread=AUTOGRAD)
        made.mark("Optimizer.step#SGD.step", at + 860, at + 960)
    return made
