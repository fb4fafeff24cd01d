"""VRT-Spike, the user's first training, at a size for a CPU: does it learn, and what is each of its levers worth?

    python benchmarks/vrt_spike.py [--part levers|learning|presets] [--pairs 6] [--seeds 3]

``levers``: each in blocks that alternate with blocks of the baseline of ``configs/vrt_spike_small.yaml``: throughput,
milliseconds of a step, peak of the process's memory.
``learning``: the baseline, a network of half its blocks, and the twin without the spike branch of either, with several
seeds, and each lever that is another training with the first of them, trained to their end at equal samples: PSNR on
held-out clips against that of the blurred input.
``presets``: what ``configs/vrt_spike_*.yaml`` change of ``vrt_spike.yaml``, at the widths of ``vrt_spike_small.yaml``,
with a quarter of the blocks and three quarters of the pixels: what each costs in dB, with one seed. The student learns
from the baseline.

All is kept in ``results/vrt_spike/journal.jsonl`` as it is measured; the same command goes on where it stopped. Writes
``results/vrt_spike.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
from lever_bench import CONFIGS, Bench, ratio
from machine import RESULTS, circumstances, sentence

from hotlap.records import write_whole
from hotlap.train.config import VrtSpikeConfig, load_config
from hotlap.tune.journal import Journal
from hotlap.workloads.vrt_spike import made_of_film

BF16 = {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}
LEVERS: list[tuple[str, dict[str, Any]]] = [
    ("checkpointing of attention", {"use_checkpoint_attn": True}),
    ("checkpointing of the feed-forward networks", {"use_checkpoint_ffn": True}),
    ("both", {"use_checkpoint_attn": True, "use_checkpoint_ffn": True}),
    ("mixed precision (bf16)", BF16),
    ("torch.compile", {"compile_model": True}),
    ("fused AdamW", {"optimizer_implementation": "fused"}),
    ("8-bit AdamW", {"optimizer": "adamw8bit"}),
    ("8-bit AdamW and 3 times the batch", {"optimizer": "adamw8bit", "batch_size": 6}),
    ("chunks of 16 pixels", {"fuse_chunk_size": 16, "spike_chunk_size": 16}),
    ("4 times MAX_BATCH_TOKENS", {"fuse_max_batch_tokens": 196608, "spike_max_batch_tokens": 196608}),
    ("perceptual loss", {"use_perceptual": True}),
    ("perceptual loss in one step of 4", {"use_perceptual": True, "perceptual_every": 4}),
    ("2 workers", {"num_workers": 2, "persistent_workers": True}),
    ("precomputed voxels", {"precomputed_voxels": True}),
]
#: What is claimed to learn, and what it is claimed to be better than: with every seed.
CLAIMED = ("baseline", "without spikes", "half the blocks: one in each stage", "half the blocks, without spikes")
#: What is another training.
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("without spikes", {"use_spikes": False}),
    ("fewer blocks: [2, 1, 1, 2, 1, 1, 1, 1]", {"depths": [2, 1, 1, 2, 1, 1, 1, 1]}),
    ("half the blocks: one in each stage", {"depths": [1] * 8}),
    ("half the blocks, without spikes", {"depths": [1] * 8, "use_spikes": False}),
    ("windows of 7", {"window_size": 7}),
    ("windows of 6", {"window_size": 6}),
    ("crops of 32 pixels", {"patch_size": 32}),
    ("crops of 24 pixels for 6 of 15 epochs, then 48", {"patch_size": {0: 24, 6: 48}}),
    ("alignment by deformable convolution", {"alignment": "dcn"}),
]
#: Trainings of which only the quality is asked.
AT_ONCE = 2
PLACE = RESULTS / "vrt_spike.json"
PRESETS = ("conservative", "aggressive", "low_memory", "student")
#: Three quarters of ``vrt_spike.yaml``'s lengths in pixels, as the crops of ``vrt_spike_small.yaml`` are.
IN_PIXELS = ("patch_size", "fuse_chunk_size", "spike_chunk_size")
#: What a preset alters for a GPU's sake, and nothing in what is learnt; compiling all blocks would take the time.
FOR_A_GPU = ("output_dir", "num_workers", "persistent_workers", "pin_memory", "cudnn_benchmark", "compile_model")


def small(key: str, value: Any) -> Any:
    """A value of ``vrt_spike.yaml`` and its presets at a size for a CPU: a quarter of the blocks."""
    if key in IN_PIXELS:
        return value * 3 // 4
    return [math.ceil(depth / 4) for depth in value] if key == "depths" else value


def preset(name: str) -> dict[str, Any]:
    """What it changes, at that size."""
    base, other = (load_config(CONFIGS / f"vrt_spike{each}.yaml") for each in ("", f"_{name}"))
    changed = [
        key for key in base.__struct_fields__ if key not in FOR_A_GPU and getattr(other, key) != getattr(base, key)
    ]
    return {key: small(key, getattr(other, key)) for key in changed}


def train(bench: Bench, label: str, keys: dict[str, Any], seed: int) -> dict[str, Any]:
    """On one thread, so that two can train at once: what they reach is asked here, and not how fast."""
    found = bench.whole(label, {**keys, "validate_every": 0, "threads": 1}, {}, seed)
    print(f"{label}, seed {seed}: {found}", file=sys.stderr)
    return found


def presets(bench: Bench, steps: int) -> list[dict[str, Any]]:
    """All are one measurement, because the student needs the baseline's checkpoint."""
    base = load_config(CONFIGS / "vrt_spike.yaml")
    sizes = {key: small(key, getattr(base, key)) for key in ("depths", *IN_PIXELS)}

    def one(name: str) -> dict[str, Any]:
        keys = {**sizes, "steps": steps} | (preset(name) if name in PRESETS else {})
        if "teacher" in keys:
            keys["teacher"] = str(bench.folder / "preset-baseline-0" / "run" / "checkpoint.pt")
        return train(bench, f"preset-{name}", keys, 0)

    def every() -> dict[str, dict[str, Any]]:
        names = ["baseline", *PRESETS]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(zip(names[:-1], pool.map(one, names[:-1]), strict=True))
        return found | {"student": one("student")}

    found = bench.journal.once(f"presets {steps}", dict, every)
    return [
        {"name": name, "keys": preset(name) if name in PRESETS else {}, "runs": [found[name]]}
        for name in ("baseline", *PRESETS)
    ]


def learning(bench: Bench, steps: int, seeds: int) -> list[dict[str, Any]]:
    """All trainings with the first seed before those with the next."""
    trainings = dict([("baseline", {}), *OTHERS])
    numbers = {name: number for number, name in enumerate(trainings)}
    asked = {
        f"whole {name} {steps} {seed}": (name, seed)
        for seed in range(seeds)
        for name in trainings
        if seed == 0 or name in CLAIMED
    }
    found: dict[tuple[str, int], dict[str, Any]] = {}

    def one(name: str, seed: int) -> dict[str, Any]:
        return train(bench, f"training-{numbers[name]}", {**trainings[name], "steps": steps}, seed)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(0, len(asked), AT_ONCE):
            some = dict(list(asked.items())[first : first + AT_ONCE])
            measured = bench.journal.all_of(
                some, dict, lambda missing: list(pool.map(one, *zip(*missing, strict=True)))
            )
            found |= dict(zip(some.values(), measured, strict=True))
    return [
        {"name": name, "keys": keys, "runs": [found[name, seed] for seed in range(seeds) if (name, seed) in found]}
        for name, keys in trainings.items()
    ]


def page(results: dict[str, Any], about: dict[str, Any]) -> str:
    lines = ["# VRT-Spike at a size for a CPU", ""]
    if "levers" in results:
        lines += [
            "The baseline checkpoints nothing. The documents, of three GPUs at full size: with 8-bit AdamW, batch 3",
            "for 1 and no checkpointing 3.6 in the place of 0.5 samples/s, 7.2x.",
            "",
        ]
        lines += ["| lever | throughput | ms a step, before and with it | peak memory |", "|---|---|---|---|"]
        for row in results["levers"]:
            if row["failed"]:
                lines.append(f"| {row['lever']} | {row['failed']} | | |")
                continue
            before, after = row["step_ms"]
            peaks = " to ".join("n/a" if each is None else f"{each / 2**20:.0f} MB" for each in row["peaks"])
            said = f"{ratio(row['effect'])}, {row['effect']['n']} pairs"
            lines.append(f"| {row['lever']} | {said} | {before:.0f}, {after:.0f} | {peaks} |")
    if "learning" in results:
        lines += ["", *qualities("training", results["learning"])]
    if "presets" in results:
        lines += [
            "",
            "Presets, narrow, with a quarter of their blocks and three quarters of their crops:",
            "",
            *qualities("preset", results["presets"]),
        ]
    return "\n".join([*lines, "", sentence(about), ""])


def qualities(of: str, rows: list[dict[str, Any]]) -> list[str]:
    """Each against the baseline with the same seeds."""
    lines = [f"| {of} | PSNR, each seed | mean | against the baseline |", "|---|---|---|---|"]
    base = [run["psnr"] for run in rows[0]["runs"]]
    for row in rows:
        values = [run["psnr"] for run in row["runs"]]
        each = ", ".join(f"{value:.2f}" for value in values)
        gain = mean(values) - mean(base[: len(values)])
        lines.append(f"| {row['name']} | {each} | {mean(values):.2f} dB | {gain:+.2f} dB |")
    return [*lines, "", f"The blurred input has {rows[0]['runs'][0]['simple_psnr']:.2f} dB."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", choices=["levers", "learning", "presets"], help="measure this alone; the page keeps the others"
    )
    parser.add_argument("--pairs", type=int, default=6, help="pairs of blocks for each lever")
    parser.add_argument("--steps", type=int, default=600, help="of a training of the part learning")
    parser.add_argument("--preset-steps", type=int, default=600, help="of a training of the part presets")
    parser.add_argument("--seeds", type=int, default=3, help="of the baseline and its twin without spikes")
    given = parser.parse_args()
    about = circumstances()
    journal = Journal(RESULTS / "vrt_spike")
    # The other parts stay as they were.
    results = json.loads(PLACE.read_text())["results"] if PLACE.exists() else {}
    # Once: what a trial writes is its own, and so would its data set be.
    config = load_config(CONFIGS / "vrt_spike_small.yaml")
    assert isinstance(config, VrtSpikeConfig)
    made_of_film(config)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench("vrt_spike_small.yaml", Path(folder), journal, given.pairs)
        parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "levers": lambda: bench.levers(LEVERS),
            "learning": lambda: learning(bench, given.steps, given.seeds),
            "presets": lambda: presets(bench, given.preset_steps),
        }
        for name in parts if given.part is None else [given.part]:
            results[name] = parts[name]()
    journal.close()
    write_whole(PLACE, msgspec.json.format(msgspec.json.encode({**about, "results": results})))
    write_whole(RESULTS / "vrt_spike.md", page(results, about))
    print(page(results, about))


if __name__ == "__main__":
    main()
