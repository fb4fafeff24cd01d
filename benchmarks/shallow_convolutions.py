"""Gradients of three-dimensional convolutions in bfloat16 on a CPU, over few planes: right, wrong, or the end.

    python benchmarks/shallow_convolutions.py

Each kernel and number of planes in a process of its own, three times: the gradient of the weights against that of the
same convolution in float32, as torch computes it and with ``hotlap.shallow``. Writes
``results/shallow_convolutions.json``. One minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from machine import RESULTS, circumstances

KERNELS = (1, 3, 4, 5, 7)
PLANES = (1, 2, 3, 4, 5, 6, 7)
#: Of the largest gradient: bfloat16 itself is off by less than a hundredth.
WRONG = 0.05
#: Seconds: one with a damaged heap may wait for ever.
PATIENCE = 60

_ONE = """
import copy, sys, torch
from hotlap import shallow
kernel, planes, mended = map(int, sys.argv[1:])
torch.set_num_threads(1)
if mended:
    shallow.in_float32(torch)
for seed in range(3):
    torch.manual_seed(seed)
    layer = torch.nn.Conv3d(32, 32, kernel, padding=kernel // 2).bfloat16()
    exact = copy.deepcopy(layer).float()
    x = torch.randn(4, 32, planes, 8, 8).bfloat16()
    out = layer(x)
    upstream = torch.randn(out.shape).bfloat16()
    out.backward(upstream)
    exact(x.float()).backward(upstream.float())
    off = (layer.weight.grad.float() - exact.weight.grad).abs().max() / exact.weight.grad.abs().max()
    if not off < %s:
        print("wrong")
        break
else:
    print("right")
"""


def one(asked: tuple[int, int, bool]) -> dict[str, Any]:
    kernel, planes, mended = asked
    command = [sys.executable, "-c", _ONE % WRONG, str(kernel), str(planes), str(int(mended))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        found = done.stdout.strip() if done.returncode == 0 else f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        found = "the process did not end"
    return {"kernel": kernel, "planes": planes, "mended": mended, "found": found}


def main() -> None:
    asked = [(kernel, planes, mended) for mended in (False, True) for kernel in KERNELS for planes in PLANES]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(one, asked))
    for mended in (False, True):
        print("with hotlap.shallow" if mended else "as torch computes it")
        for kernel in KERNELS:
            found = [row["found"] for row in rows if (row["kernel"], row["mended"]) == (kernel, mended)]
            print(f"  kernel {kernel}: {dict(zip(PLANES, found, strict=True))}")
    totals = {
        name: Counter(row["found"] for row in rows if row["mended"] == mended)
        for name, mended in (("torch", False), ("mended", True))
    }
    result = {**circumstances(), "wrong_from": WRONG, "totals": totals, "rows": rows}
    (RESULTS / "shallow_convolutions.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
