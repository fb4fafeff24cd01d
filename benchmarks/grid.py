"""How near does `hotlap tune` come to the best of a grid that is measured exhaustively, and in which share of its time?

    python benchmarks/grid.py [--only restoration|seq2seq] [--budget 10m]

Two trainings: ``configs/restoration.yaml`` (128 configurations) and ``scripts/dates_seq2seq.py`` (96). Each
configuration runs in short blocks that alternate with blocks of the unchanged training, AB BA AB ..., in a shuffled
order, so that drift cancels. The fastest are then judged one after the other by the same-training guard, until one
keeps the training. `hotlap tune` runs once, with compilation caches of its own. What it adopted is measured against the
best of the grid in pairs of fresh launches. Goal: at least 95 % of its throughput, in a quarter of the grid's time.

All is kept in ``results/grid/NAME/journal.jsonl`` as it is measured; the same command goes on where it stopped. Delete
that folder to measure anew. Writes ``results/grid.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from machine import RESULTS, circumstances, sentence

from hotlap.launch import Limits, environment
from hotlap.records import Change, Effect, Environment, SameTraining, write_whole
from hotlap.terminal import as_seconds
from hotlap.tune.arms import Arm, ArmFailed, bounded, measure_pairs
from hotlap.tune.guard import strictest
from hotlap.tune.journal import Journal
from hotlap.tune.options import Options
from hotlap.tune.proof import STEPS, launch_pair, same_training
from hotlap.tune.search import tune
from hotlap.tune.statistics import effect
from hotlap.tune.target import Target

HERE = Path(__file__).resolve().parent


def change(name: str, value: str, inject: dict[str, Any], edits: dict[str, Any], numerics: Any = "rounding") -> Change:
    return Change(name=name, value=value, title=f"{name} {value}", numerics=numerics, inject=inject, edits=edits)


BF16 = change(
    "precision",
    "bf16",
    {"autocast": "bfloat16"},
    {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"},
)
CHANNELS_LAST = change("layout", "channels_last", {"channels_last": True}, {"channels_last": True})
COMPILE = change("compile", "default", {"compile": "default"}, {"compile_model": True})
FUSED = change("optimizer", "fused", {"fused": True}, {"optimizer_implementation": "fused"})
FOREACH = change("optimizer", "foreach", {"foreach": True}, {"optimizer_implementation": "foreach"})
KEEP = change("allocator", "keep", {"allocator": "keep"}, {"keep_freed_memory": True}, "exact")
WORKER = change("workers", "1", {"workers": 1}, {"num_workers": 1}, "exact")
HALF_BATCH = change("micro_batch", "8x2", {}, {"batch_size": 8, "accumulation_steps": 2})
WHOLE_BATCH = change("micro_batch", "32x1", {}, {"batch_size": 32, "accumulation_steps": 1})

#: What each training is varied in; each axis also has "as it is".
AXES = {
    "restoration": [[BF16], [CHANNELS_LAST], [COMPILE], [FUSED], [KEEP], [WORKER], [HALF_BATCH]],
    "seq2seq": [[BF16], [COMPILE], [FUSED, FOREACH], [KEEP], [WORKER], [WHOLE_BATCH]],
}
#: Fresh launches of the adopted set against the grid's best, and blocks in each.
LAUNCHES, BLOCKS = 7, 4
#: Seeds by which a configuration is judged to train the same.
SEEDS = 5


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration of the grid."""

    changes: list[str]
    #: Its throughput over that of the unchanged training, a pair of blocks each.
    pairs: list[float]
    seconds: float
    first_step: float | None = None
    #: Why it could not be measured, or what of it was not applied.
    failed: str | None = None


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    adopted: list[Change]
    seconds: float
    verdict: str
    effect: Effect | None
    same: bool | None


class Bench:
    def __init__(self, name: str, folder: Path, journal: Journal, pairs: int) -> None:
        self.name, self.folder, self.journal, self.pairs = name, folder, journal, pairs
        self.environment: Environment = environment()
        self.arms = 0
        if name == "restoration":
            self.target = Target.of_config(HERE.parent / "configs" / "restoration.yaml")
        else:
            # Long enough for a proof; nothing here comes to its end.
            self.target = Target.of_command(
                [sys.executable, str(HERE / "scripts" / "dates_seq2seq.py"), "--epochs", "100"]
            )

    def arm(self, changes: Sequence[Change], seed: int = 0, steps: int | None = None) -> Arm:
        self.arms += 1
        limits = bounded(Limits(), self.environment)
        directory = self.folder / f"arm-{self.arms}"
        return Arm(self.target, changes, directory, self.environment, limits=limits, seed_offset=seed, steps=steps)

    def configurations(self) -> list[list[Change]]:
        every = itertools.product(*[[None, *axis] for axis in AXES[self.name]])
        listed = [[each for each in picked if each is not None] for picked in every]
        random.Random(0).shuffle(listed)
        return listed

    def cell(self, reference: Arm, changes: list[Change]) -> Cell:
        began = time.monotonic()
        candidate = self.arm(changes)
        pairs: list[float] = []
        failed: str | None = None
        try:
            pairs = measure_pairs(reference, candidate, self.pairs)
            notes = candidate.so_far().notes
            failed = notes[0] if notes else None
        except ArmFailed as error:
            if candidate.training is not None:
                raise  # it was the reference that failed
            failed = str(error)
        first = candidate.first_step
        candidate.close()
        seconds = time.monotonic() - began
        return Cell(changes=_ids(changes), pairs=pairs, seconds=seconds, first_step=first, failed=failed)

    def same(self, changes: list[Change]) -> SameTraining:
        steps = STEPS
        launches = [
            launch_pair(
                self.arm([], seed, steps),
                self.arm(changes, seed, steps),
                steps,
                to_the_end=self.target.config is not None,
            )
            for seed in range(SEEDS)
        ]
        # Where "exact" would ask for more, the best of the grid gets the benefit of the doubt.
        return same_training(launches, strictest([each.numerics for each in changes]), deterministic=False)

    def tuned(self, budget: float) -> Tuned:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.folder / "inductor")
        options = Options(budget=budget, run_dir=self.folder / "runs")
        found, _ = tune(self.target, options, _say)
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        same = found.same_training.same if found.same_training else None
        return Tuned(
            adopted=found.adopted, seconds=found.seconds, verdict=found.judgement, effect=found.effect, same=same
        )

    def against(self, best: list[Change], adopted: list[Change], seed: int) -> float:
        a, b = self.arm(best, seed), self.arm(adopted, seed)
        ratio = median(measure_pairs(a, b, BLOCKS))
        a.close()
        b.close()
        return ratio

    def run(self, most: int | None, budget: float) -> dict[str, Any]:
        listed = self.configurations()[:most]
        reference = self.arm([])
        cells = []
        for number, changes in enumerate(listed, 1):
            key = f"cell {'+'.join(_ids(changes)) or 'baseline'}"
            cells.append(self.journal.once(key, Cell, lambda changes=changes: self.cell(reference, changes)))  # type: ignore[misc]
            cell = cells[-1]
            _say(f"{self.name} {number}/{len(listed)} {key}: {cell.failed or f'{median(cell.pairs):.3f}x'}")
        reference.close()
        ranked = sorted(
            ((median(cell.pairs), changes) for cell, changes in zip(cells, listed, strict=True) if not cell.failed),
            key=lambda each: -each[0],
        )
        judged: list[dict[str, Any]] = []
        best: list[Change] = []
        for ratio, changes in ranked:
            if not changes:
                break  # nothing above the unchanged training keeps it
            verdict = self.journal.once(f"same {'+'.join(_ids(changes))}", SameTraining, lambda c=changes: self.same(c))  # type: ignore[misc]
            judged.append({"changes": _ids(changes), "ratio": ratio, "same": verdict.same, "why": verdict.evidence})
            _say(f"{self.name} {judged[-1]}")
            if verdict.same:
                best = changes
                break
        tuned = self.journal.once("tuning", Tuned, lambda: self.tuned(budget))
        if sorted(_ids(best)) == sorted(_ids(tuned.adopted)):
            shares = [1.0]
        else:
            shares = [
                self.journal.once(f"against {seed}", float, lambda seed=seed: self.against(best, tuned.adopted, seed))  # type: ignore[misc]
                for seed in range(LAUNCHES)
            ]
        seconds = sum(cell.seconds for cell in cells)
        return {
            "configurations": len(cells),
            "failed": [msgspec.to_builtins(cell) for cell in cells if cell.failed],
            "grid_seconds": round(seconds, 1),
            "fastest": judged,
            "best": _ids(best),
            "tuning": msgspec.to_builtins(tuned),
            "share_of_best": msgspec.to_builtins(effect(shares, 0.95)) if len(shares) > 1 else 1.0,
            "share_of_time": tuned.seconds / seconds,
        }


def _ids(changes: Sequence[Change]) -> list[str]:
    return [each.id for each in changes]


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def row(name: str, found: dict[str, Any]) -> str:
    share = found["share_of_best"]
    reached = "the same configuration"
    if share != 1.0:
        ratio, low, high = (100 * share[part] for part in ("ratio", "low", "high"))
        reached = f"{ratio:.1f} % [{low:.1f}, {high:.1f}], {share['n']} launches"
    adopted = ", ".join(f"{each['name']}={each['value']}" for each in found["tuning"]["adopted"]) or "nothing"
    best = f"{', '.join(found['best']) or 'unchanged'}"
    return (
        f"| {name} | {found['configurations']} | {best} | {adopted} | {reached} | "
        f"{found['tuning']['seconds']:.0f} s of {found['grid_seconds']:.0f} s: {100 * found['share_of_time']:.0f} % |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(AXES))
    parser.add_argument("--budget", default="10m", help="of the tuning")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of blocks for each configuration")
    parser.add_argument("--cells", type=int, help="measure the first so many configurations of the shuffled grid only")
    given = parser.parse_args()
    about = circumstances()
    results = {}
    for name in AXES if given.only is None else [given.only]:
        journal = Journal(RESULTS / "grid" / name)
        with tempfile.TemporaryDirectory() as folder:
            about["began"] = journal.once("began", dict, lambda: circumstances())
            bench = Bench(name, Path(folder), journal, given.pairs)
            results[name] = bench.run(given.cells, as_seconds("--budget", given.budget))
        journal.close()
    write_whole(RESULTS / "grid.json", msgspec.json.format(msgspec.json.encode({**about, "results": results})) + b"\n")
    lines = [
        "# hotlap tune against a grid measured exhaustively",
        "",
        "| training | configurations | best that trains the same | adopted | throughput of it | time |",
        "|---|---|---|---|---|---|",
        *(row(name, found) for name, found in results.items()),
        "",
        sentence(about),
        "",
    ]
    write_whole(RESULTS / "grid.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
