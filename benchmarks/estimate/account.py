"""The documents' account of GPU memory, for the real network: parameters, optimizer, activations, what fits.

    python benchmarks/estimate/account.py [--seconds N]

VRT-Spike as published (13 depths, deformable convolutions) and with the documents' depths, 5 frames, 32 bins, at the
documents' first crop, with and without each kind of checkpointing, in float32 or bfloat16, with Adam's state in 32 and
in 8 bits: each estimated for CUDA, as ``hotlap estimate`` does. What is estimated is kept in
``results/estimate/account.json``; the command goes on from there, and stops before another estimate after N seconds.
``account.md`` shows what is there, and says how much is still missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from machine import RESULTS, circumstances, sentence

from hotlap.estimate.allocator import replay
from hotlap.estimate.device import device_of
from hotlap.estimate.eight_bit import in_eight_bits
from hotlap.estimate.fitting import verdict
from hotlap.estimate.summing import on_card, summed
from hotlap.estimate.timeline import alive
from hotlap.estimate.trained import follow
from hotlap.train.config import VrtSpikeConfig, load_config

GIB = 2**30
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "vrt_spike.yaml"
RAW = RESULTS / "estimate" / "account.json"
#: The second has the depths that the documents give, and frames are aligned as in the configuration.
NETWORKS: dict[str, dict[str, Any]] = {
    "published": {"depths": [8] * 7 + [4] * 6, "alignment": "dcn"},
    "documents": {"depths": [8, 8, 8, 8, 4, 4, 4, 8]},
}
CHECKPOINTING = {"off": (False, False), "attention": (True, False), "FFN": (False, True), "both": (True, True)}
#: Network, crop, micro-batch, precision; each with all kinds of checkpointing.
SIZES = (
    ("published", 128, 1, "float32"),
    ("published", 128, 1, "bfloat16"),
    ("published", 128, 3, "float32"),
    ("documents", 128, 1, "float32"),
    ("documents", 128, 3, "float32"),
)
CARD = 48 * GIB


def estimated(network: str, crop: int, batch: int, precision: str, checkpointing: str) -> dict[str, Any]:
    config = load_config(CONFIG)
    assert isinstance(config, VrtSpikeConfig)
    attention, feed_forward = CHECKPOINTING[checkpointing]
    config = msgspec.structs.replace(
        config,
        **NETWORKS[network],
        patch_size=crop,
        batch_size=batch,
        use_mixed_precision=precision != "float32",
        use_checkpoint_attn=attention,
        use_checkpoint_ffn=feed_forward,
    )
    followed = follow(config)
    device = device_of(None, CARD)
    room = device.room(4 * sum(followed.parameters), 3)
    found: dict[str, Any] = {"parameters": sum(followed.parameters), "seconds": followed.seconds}
    small = in_eight_bits(followed.timeline, followed.parameters)
    for name, timeline in (("32 bits", followed.timeline), ("8 bits", small)):
        known = summed(timeline, device="cuda", capability=None, seconds=0.0)
        known = msgspec.structs.replace(known, allowances=room.allowances)
        of_card = on_card(timeline)
        at_the_end = alive(of_card, len(of_card.events) - 1)
        found[name] = {
            "allocated": known.allocated,
            "reserved": known.reserved,
            "total": known.total,
            "categories": known.categories,
            "state": sum(block.size for block in at_the_end if block.category == "optimizer"),
            "moment": f"{known.moment.phase}, {known.moment.operator}",
            "verdict": verdict(of_card, replay(of_card), room),
        }
    return found


def page(figures: dict[str, Any], wanted: int) -> str:
    rows = figures["estimates"]
    numbers = {name.partition(",")[0]: row["parameters"] for name, row in rows.items()}
    networks = " and ".join(f"{name} ({number:,} parameters)" for name, number in numbers.items())
    lines = [
        "# The documents' account of GPU memory, for the real network",
        "",
        sentence(figures),
        "",
        f"VRT-Spike: {networks}; the second has the documents' depths. 5 frames, 32 voxel bins, AdamW, one of 3 GPUs "
        "with 48 GiB. GiB, estimated for CUDA. *State*: of the optimizer, in 32 or 8 bits. *Activations*: what forward "
        "keeps for backward and still lives at the peak. *Needed*: reserved, context, workspace and buckets of "
        "DistributedDataParallel, likely and at most.",
        "",
        "| network | crop | batch | precision | checkpointing | bits | state | activations | allocated | reserved "
        "| needed | on 48 GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        setting = " | ".join(name.split(", "))
        for bits in ("32 bits", "8 bits"):
            of = row[bits]
            sizes = (of["state"], of["categories"].get("activation", 0), of["allocated"], of["reserved"])
            cells = " | ".join(f"{size / GIB:.2f}" for size in sizes)
            needed = f"{of['total'][1] / GIB:.1f} to {of['total'][2] / GIB:.1f}"
            lines.append(f"| {setting} | {bits.split()[0]} | {cells} | {needed} | {of['verdict']} |")
    if len(rows) < wanted:
        lines += ["", f"Not estimated yet: {wanted - len(rows)} of {wanted} settings. The same command goes on."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = json.loads(RAW.read_text()) if RAW.is_file() else {**circumstances(), "estimates": {}}
    known, order = figures["estimates"], []
    wanted = [(*size, checkpointing) for size, checkpointing in itertools.product(SIZES, CHECKPOINTING)]
    for each in wanted:
        name = ", ".join(map(str, each))
        if name not in known and time.monotonic() - began > args.seconds:
            print(f"{name} is still to do: the same command goes on", file=sys.stderr)
            continue
        if name not in known:
            known[name] = estimated(*each)
            print(f"{name}: {known[name]['32 bits']['allocated'] / GIB:.2f} GiB", file=sys.stderr)
        order.append(name)
        figures["estimates"] = {name: known[name] for name in order} | known
        RAW.write_text(json.dumps(figures, indent=1) + "\n")
    figures["estimates"] = {name: known[name] for name in order}
    RAW.write_text(json.dumps(figures, indent=1) + "\n")
    RAW.with_suffix(".md").write_text(page(figures, len(wanted)))


if __name__ == "__main__":
    main()
