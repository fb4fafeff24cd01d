"""How well the restoration workload restores: trains a configuration and keeps the result.

    python benchmarks/restoration_quality.py [CONFIG] [-o RESULT]

Writes PSNR and SSIM on held-out pictures, the same for the method without learning, the seconds, the machine and the
versions to ``benchmarks/results/restoration_quality.json``. The training's own files go to a temporary folder. Quality
is the subject: the samples/s of a machine that does something else meanwhile mean little, so its load is kept as well.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import torch

from hotlap import __version__
from hotlap.records import write_whole
from hotlap.train import load_config, summary
from hotlap.train.loop import train

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "configs" / "restoration.yaml")
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "benchmarks" / "results" / "restoration_quality.json"
    )
    arguments = parser.parse_args()

    config = load_config(arguments.config)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        result = train(msgspec.structs.replace(config, output_dir=folder))
    del result["output_dir"]
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine() | {"load_before": load_before},
        "versions": {"hotlap": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        "result": result,
        "config": msgspec.to_builtins(config),
    }
    write_whole(arguments.output, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    print(summary(result))


def machine() -> dict[str, Any]:
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "platform": platform.platform(),
    }


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
