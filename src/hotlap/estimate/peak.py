"""The floating-point operations per second that this machine reaches in a large matrix product.

Run by the interpreter that trains, as ``python peak.py DEVICE DTYPE THREADS``; needs only torch. It prints a number.
"""

from __future__ import annotations

import subprocess
import sys
import time

_SECONDS = 0.6
_SIZES = {"cpu": (512, 1024, 1536), "cuda": (4096, 8192)}


def measured_peak(python: str, device: str, dtype: str, threads: int) -> float | None:
    """Return FLOP/s, None where they could not be measured."""
    command = [python, __file__, device, dtype, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return float(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def main() -> None:
    import torch

    device, dtype, threads = sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    best = 0.0
    for size in _SIZES.get(device, _SIZES["cpu"]):
        a = torch.randn(size, size, device=device, dtype=dtype)
        began = time.perf_counter()
        while time.perf_counter() - began < _SECONDS:
            start = time.perf_counter()
            for _ in range(4):
                a @ a
            if device == "cuda":
                torch.cuda.synchronize()
            best = max(best, 4 * 2 * size**3 / (time.perf_counter() - start))
    print(best)


if __name__ == "__main__":
    main()
