"""What an estimate itself takes: VRT-Spike at the documents' size, of which the training would need more than 30 GB.

    python benchmarks/estimate/cost.py [--times N]

The documents' depths, 5 frames of 128 pixels, 32 voxel bins, one sample, float32, no checkpointing. Each time a fresh
process goes through the training's step, as `hotlap estimate` does, and replays it through the allocator; its seconds
count from its start, so loading torch is among them. Writes ``results/estimate/cost.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from machine import RESULTS, circumstances, sentence

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "vrt_spike.yaml"
DEPTHS = [8, 8, 8, 8, 4, 4, 4, 8]
MOST_SECONDS, MOST_BYTES = 20.0, 2e9
GIB = 2**30


def once() -> dict[str, Any]:
    import msgspec

    from hotlap.estimate.summing import summed
    from hotlap.estimate.trained import follow
    from hotlap.train.config import VrtSpikeConfig, load_config

    config = load_config(CONFIG)
    assert isinstance(config, VrtSpikeConfig)
    config = msgspec.structs.replace(
        config,
        depths=DEPTHS,
        patch_size=128,
        batch_size=1,
        use_mixed_precision=False,
        use_checkpoint_attn=False,
        use_checkpoint_ffn=False,
    )
    followed = follow(config)
    known = summed(followed.timeline, device="cuda", capability=None, seconds=followed.seconds)
    return {
        "parameters": sum(followed.parameters),
        "allocated": known.allocated,
        "reserved": known.reserved,
        "blocks": known.blocks,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "processor_seconds": time.process_time(),
    }


def apart() -> dict[str, Any]:
    began = time.monotonic()
    command = [sys.executable, "-W", "ignore", __file__, "--one"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return {"seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}


def page(figures: dict[str, Any]) -> str:
    rows = figures["estimates"]
    of = rows[0]
    lines = [
        "# What an estimate takes",
        "",
        sentence(figures),
        "",
        f"VRT-Spike with the documents' depths ({of['parameters']:,} parameters), 5 frames of 128 pixels, one sample, "
        f"float32, no checkpointing, for CUDA: allocated {of['allocated'] / GIB:.1f} GiB, reserved "
        f"{of['reserved'] / GIB:.1f}. {of['blocks']:,} storages were followed. Each row is a process of its own, with "
        "loading torch.",
        "",
        "| seconds | of one processor | memory of the process, GB |",
        "|---|---|---|",
        *(f"| {row['seconds']:.1f} | {row['processor_seconds']:.1f} | {row['resident'] / 1e9:.2f} |" for row in rows),
        "",
        f"Median {figures['seconds']:.1f} s (asked: 20 s), at most {figures['resident'] / 1e9:.2f} GB (2 GB).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(once()))
        return
    figures = circumstances()
    rows = [apart() for _ in range(args.times)]
    figures |= {
        "estimates": rows,
        "seconds": median(row["seconds"] for row in rows),
        "resident": max(row["resident"] for row in rows),
    }
    folder = RESULTS / "estimate"
    (folder / "cost.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "cost.md").write_text(page(figures))
    print(page(figures))
    sys.exit(figures["seconds"] > MOST_SECONDS or figures["resident"] > MOST_BYTES)


if __name__ == "__main__":
    main()
