"""Calibration: how much faster this machine is in bfloat16 and channels_last, on typical shapes.

Run in the interpreter that trains, as ``python machine.py [cpu]``; needs only torch. Prints one JSON object with
the fields of ``hotlap.diagnose.Machine``. Each ratio is the median of interleaved pairs.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

PAIRS = 5
#: Seconds of one measurement, at least.
BLOCK = 0.03
#: The word that leaves a GPU alone.
ON_CPU = "cpu"


def main() -> None:
    import torch

    device = "cuda" if ON_CPU not in sys.argv[1:] and torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)

    def seconds(work: Callable[[], Any]) -> float:
        count = 0
        start = time.perf_counter()
        while not count or time.perf_counter() - start < BLOCK:
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            count += 1
        return (time.perf_counter() - start) / count

    def speedup(slow: Callable[[], Any], fast: Callable[[], Any]) -> float:
        for work in (slow, fast):
            for _ in range(3):
                work()
        return statistics.median(seconds(slow) / seconds(fast) for _ in range(PAIRS))

    def matmul(dtype: torch.dtype) -> Callable[[], Any]:
        a = torch.randn(512, 512, device=device, dtype=dtype)
        return lambda: a @ a

    def convolution(dtype: torch.dtype, layout: torch.memory_format) -> Callable[[], Any]:
        net = torch.nn.Conv2d(32, 32, 3, padding=1, device=device, dtype=dtype)
        net.weight.data = net.weight.data.contiguous(memory_format=layout)
        x = torch.randn(8, 32, 48, 48, device=device, dtype=dtype).contiguous(memory_format=layout)
        x.requires_grad_(True)
        return lambda: net(x).sum().backward()

    contiguous, last = torch.contiguous_format, torch.channels_last
    float32, bfloat16 = torch.float32, torch.bfloat16
    print(
        json.dumps(
            {
                "bf16_matmul_speedup": speedup(matmul(float32), matmul(bfloat16)),
                "bf16_conv_speedup": speedup(convolution(float32, contiguous), convolution(bfloat16, contiguous)),
                "channels_last_conv_speedup": speedup(convolution(float32, contiguous), convolution(float32, last)),
                "device_memory": torch.cuda.get_device_properties(0).total_memory if device == "cuda" else None,
            }
        )
    )


if __name__ == "__main__":
    main()
