"""How well the restoration training restores: noise removed, and pictures enlarged 2 and 4 times.

    python benchmarks/restoration_quality.py [--seeds 2]

Trains ``configs/restoration.yaml`` to its end for each task and seed: PSNR and SSIM on held-out pictures against the
method without learning (the noisy input, bicubic upscaling). Writes ``results/restoration_quality.json`` and ``.md``.
The trainings' own files go to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from machine import RESULTS, circumstances, sentence

from hotlap.records import write_whole
from hotlap.train import load_config
from hotlap.train.loop import train

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "restoration.yaml"
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("noise removed", {"task": "denoise"}),
    ("enlarged 2 times", {"task": "super_resolution", "scale": 2}),
    ("enlarged 4 times", {"task": "super_resolution", "scale": 4}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    about = circumstances()
    rows = []
    for name, keys in TASKS:
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                config = msgspec.structs.replace(load_config(CONFIG), output_dir=folder, seed=seed, **keys)
                found = train(config)
            del found["output_dir"]
            rows.append({"task": name, "seed": seed, **found})
    lines = [
        "# Does the restoration training restore?",
        "",
        "| task | seed | PSNR | without learning | SSIM | without learning | seconds |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['task']} | {row['seed']} | {row['psnr']:.2f} dB | {row['simple_psnr']:.2f} dB "
            f"({row['simple_method']}) | {row['ssim']:.3f} | {row['simple_ssim']:.3f} | {row['seconds']:.0f} |"
            for row in rows
        ),
    ]
    page = "\n".join([*lines, "", sentence(about), ""])
    write_whole(RESULTS / "restoration_quality.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    write_whole(RESULTS / "restoration_quality.md", page)
    print(page)


if __name__ == "__main__":
    main()
