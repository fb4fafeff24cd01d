"""A reference training and its levers: each alone in blocks beside the baseline, and whole trainings to their end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from hotlap.launch import Limits, Plan, Training, environment
from hotlap.records import Change
from hotlap.tune.arms import Arm, ArmFailed, bounded, measure_pairs
from hotlap.tune.journal import Journal
from hotlap.tune.proof import peak
from hotlap.tune.statistics import effect
from hotlap.tune.target import Target

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A lever's throughput over the baseline's, a pair of blocks each; peaks in bytes, milliseconds of a step."""

    pairs: list[float]
    peaks: list[int | None] = []
    step_ms: list[float] = []
    failed: str | None = None


class Bench:
    def __init__(self, config: str, folder: Path, journal: Journal, pairs: int) -> None:
        self.folder, self.journal, self.pairs = folder, journal, pairs
        self.environment, self.target, self.arms = environment(), Target.of_config(CONFIGS / config), 0

    def arm(self, edits: dict[str, Any]) -> Arm:
        self.arms += 1
        limits = bounded(Limits(), self.environment)
        return Arm(self.target, _keys(edits), self.folder / f"arm-{self.arms}", self.environment, limits=limits)

    def lever(self, edits: dict[str, Any]) -> Cell:
        a, b = self.arm({}), self.arm(edits)
        try:
            pairs = measure_pairs(a, b, self.pairs)
            runs = [a.so_far(), b.so_far()]
            return Cell(
                pairs=pairs,
                peaks=[peak(run.facts) for run in runs],
                step_ms=[1e3 * sorted(step.wall for step in run.steps)[len(run.steps) // 2] for run in runs],
            )
        except ArmFailed as error:
            return Cell(pairs=[], failed=str(error))
        finally:
            a.close()
            b.close()

    def levers(self, levers: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        rows = []
        for name, edits in levers:
            key = f"lever {name} {json.dumps(edits)} {self.pairs}"
            cell = self.journal.once(key, Cell, lambda e=edits: self.lever(e))  # type: ignore[misc]
            found = msgspec.to_builtins(effect(cell.pairs, 0.95)) if cell.pairs else None
            rows.append({"lever": name, "keys": edits, "effect": found, **msgspec.to_builtins(cell)})
            print(f"{name}: {cell.failed or found}", file=sys.stderr)
        return rows

    def whole(self, name: str, edits: dict[str, Any], levers: dict[str, Any], seed: int) -> dict[str, Any]:
        """Train to the end in a fresh process, with the levers that have no key set from outside.

        Returns the seconds from the first import to the end, and the last of every figure in the log.
        """
        folder = self.folder / f"{name}-{seed}"
        folder.mkdir()
        known = {**edits, "seed": seed, "output_dir": str(folder / "run")}
        command = self.target.arrange(_keys(known), folder)
        began = time.perf_counter()
        with Training(command, folder / "record", Plan(levers=levers), Limits()) as training:
            training.wait()
        seconds = time.perf_counter() - began
        run = training.run()
        if run.info.outcome != "finished":
            sys.exit(f"{name}, seed {seed}: {training.tail()}")
        lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
        last = {key.removeprefix("val_"): value for line in lines for key, value in line.items() if key != "health"}
        return {"seconds": round(seconds, 1), "notes": run.notes, "peak": peak(run.facts), **last}


def ratio(found: dict[str, Any]) -> str:
    interval = f" [{found['low']:.2f}, {found['high']:.2f}]" if "low" in found else ""
    return f"{found['ratio']:.2f}x{interval}"


def _keys(edits: dict[str, Any]) -> list[Change]:
    return [Change(name="keys", value="", title="", numerics="trajectory", edits=edits)] if edits else []
