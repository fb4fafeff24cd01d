"""APT on HLBD, the user's third training: each lever alone, and the whole training as documented against the tuned one.

    python benchmarks/apt.py [--budget 10m] [--seeds 3] [--pairs 6] [--part levers|whole]

``levers``: each of the document's eight, its two combinations and length bucketing, in blocks that alternate with
blocks of the baseline of ``configs/apt.yaml`` (AB BA AB ...).
``whole``: `hotlap tune configs/apt.yaml` once; then the baseline and what was adopted train for all 50 epochs, in
turns, with a seed for each pair: seconds from the first import to the end, and how well both write in the end.

All is kept in ``results/apt/journal.jsonl`` as it is measured; the same command goes on where it stopped. Writes
``results/apt.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from lever_bench import Bench, ratio
from machine import RESULTS, circumstances, sentence

from hotlap.records import write_whole
from hotlap.terminal import as_seconds
from hotlap.tune.journal import Journal
from hotlap.tune.options import Options
from hotlap.tune.search import tune
from hotlap.tune.statistics import effect

BF16 = {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}
PLACE = RESULTS / "apt.json"
LARGE = {"batch_size": 32, "accumulation_steps": 1}
#: Levers of the user's document, its two combinations, and less padding.
LEVERS: list[tuple[str, dict[str, Any]]] = [
    ("mixed precision (bf16)", BF16),
    ("batch 32 x 1 in the place of 4 x 8", LARGE),
    ("batch 16 x 2", {"batch_size": 16, "accumulation_steps": 2}),
    ("2 workers that stay", {"num_workers": 2, "persistent_workers": True}),
    ("torch.compile", {"compile_model": True}),
    ("torch.compile, max-autotune", {"compile_model": True, "compile_mode": "max-autotune"}),
    ("fused Adam", {"optimizer_implementation": "fused"}),
    ("8-bit Adam", {"optimizer": "adam8bit"}),
    ("a log line, and a read of the loss, every 200 steps", {"log_every": 200}),
    ("whole set on the device", {"whole_set": True}),
    ("checkpointing, to afford batch 32 x 1", {"use_checkpoint": True, **LARGE}),
    ("padding to the longest", {"pad_to_max_length": False}),
    ("like lengths together, padded to the longest", {"pad_to_max_length": False, "group_by_length": True}),
    ("in five minutes: batch 32 x 1, bf16, fused", {**BF16, **LARGE, "optimizer_implementation": "fused"}),
    (
        "in thirty minutes: these, whole set, padded to the longest",
        {**BF16, **LARGE, "optimizer_implementation": "fused", "whole_set": True, "pad_to_max_length": False},
    ),
]


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    adopted: list[str]
    edits: dict[str, Any]
    levers: dict[str, Any]
    seconds: float
    judgement: str
    ratio: float | None


def tuned_by(bench: Bench, budget: float) -> Tuned:
    found, _ = tune(bench.target, Options(budget=budget, run_dir=bench.folder / "runs"), _say)
    return Tuned(
        adopted=[change.id for change in found.adopted],
        edits=bench.target.edits(found.adopted),
        levers=bench.target.levers(found.adopted),
        seconds=found.seconds,
        judgement=found.judgement,
        ratio=found.effect.ratio if found.effect else None,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def compared(bench: Bench, budget: float, seeds: int) -> dict[str, Any]:
    tuned = bench.journal.once(f"tuning {budget:.0f}", Tuned, lambda: tuned_by(bench, budget))
    _say(str(tuned))
    pairs = []
    for seed in range(seeds):
        order = [("baseline", {}, {}), ("tuned", tuned.edits, tuned.levers)]
        pair = {}
        for name, edits, levers in order if seed % 2 == 0 else order[::-1]:
            pair[name] = bench.journal.once(
                f"{name} {seed}",
                dict,
                lambda n=name, e=edits, x=levers, s=seed: bench.whole(n, e, x, s),  # type: ignore[misc]
            )
            _say(f"{name}, seed {seed}: {pair[name]}")
        pairs.append(pair)
    ratios = [pair["baseline"]["seconds"] / pair["tuned"]["seconds"] for pair in pairs]
    found = msgspec.to_builtins(effect(ratios, 0.95)) if len(ratios) > 1 else {"ratio": ratios[0]}
    return {"tuning": msgspec.to_builtins(tuned), "pairs": pairs, "speedup": found}


def page(results: dict[str, Any], about: dict[str, Any]) -> str:
    lines = ["# APT on HLBD: the document's levers, measured", ""]
    if "levers" in results:
        lines += [
            "The document wants 4 to 5 times the speed of all together, on a GPU. Here, each against the baseline:",
            "",
            "| lever | throughput |",
            "|---|---|",
        ]
        for row in results["levers"]:
            found = row["effect"]
            said = (
                row["failed"] or f"{found['ratio']:.2f}x [{found['low']:.2f}, {found['high']:.2f}], {found['n']} pairs"
            )
            lines.append(f"| {row['lever']} | {said} |")
    if "whole" in results:
        whole = results["whole"]
        speed = whole["speedup"]
        adopted = ", ".join(whole["tuning"]["adopted"]) or "nothing"
        lines += [
            *([""] if "levers" in results else []),
            f"50 epochs from the first import to the end: {ratio(speed)}, {len(whole['pairs'])} pairs, with {adopted} "
            f"(a tuning of {whole['tuning']['seconds']:.0f} s).",
            "",
            "| seed | | seconds | exact match in training | held out | character error rate | loss |",
            "|---|---|---|---|---|---|---|",
        ]
        for seed, pair in enumerate(whole["pairs"]):
            for name, each in pair.items():
                lines.append(
                    f"| {seed} | {name} | {each['seconds']:.0f} | {each['training_exact_match']:.3f} | "
                    f"{each['exact_match']:.3f} | {each['character_error_rate']:.3f} | {each['loss']:.3f} |"
                )
    return "\n".join([*lines, "", sentence(about), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="10m", help="of the tuning")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=6, help="pairs of blocks for each lever")
    parser.add_argument("--part", choices=["levers", "whole"], help="measure this alone; the page keeps the other")
    given = parser.parse_args()
    about = circumstances()
    journal = Journal(RESULTS / "apt")
    # The other part stays as it was.
    results: dict[str, Any] = json.loads(PLACE.read_text())["results"] if PLACE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench("apt.yaml", Path(folder), journal, given.pairs)
        if given.part in (None, "levers"):
            results["levers"] = bench.levers(LEVERS)
        if given.part in (None, "whole"):
            results["whole"] = compared(bench, as_seconds("--budget", given.budget), given.seeds)
    journal.close()
    write_whole(PLACE, msgspec.json.format(msgspec.json.encode({**about, "results": results})) + b"\n")
    write_whole(RESULTS / "apt.md", page(results, about))
    print(page(results, about))


if __name__ == "__main__":
    main()
