"""Is the planted cause the first finding, run after run, and do healthy trainings get none?

    python benchmarks/planted.py [--runs 3]

Each script of ``tests/cases`` is profiled so many times, one at a time, by ``hotlap profile --json``. Its first line
says what is planted, ``# truth:`` the code that must come first (``none``: no finding but information). Beside that:
how far the leaves are from the step's wall time, the budget's parts from the process's, and the process's wall from a
stopwatch around the training command. Writes ``results/planted.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from machine import RESULTS, circumstances, sentence

from hotlap.diagnose import rule
from hotlap.launch import read_run
from hotlap.records import write_whole

CASES = Path(__file__).parents[1] / "tests" / "cases"


def said(path: Path, word: str, default: str) -> str:
    lines = [line for line in path.read_text().splitlines() if line.startswith(f"# {word}: ")]
    return lines[0].partition(": ")[2] if lines else default


def profile(path: Path, truth: str, ranks: int, folder: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if truth != "none":
        environment["OMP_NUM_THREADS"] = "1"
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    # A shell's clock around the training: what hotlap does before and after it is not the training's.
    stopwatch = ["bash", "-c", f'date +%s.%N > "{folder}/began"; "$0" "$@"; date +%s.%N > "{folder}/ended"']
    command = [*stopwatch, *(launcher if ranks > 1 else launcher[:1]), str(path)]
    hotlap = [sys.executable, "-m", "hotlap", "profile", "--json", "--run-dir", folder]
    began = time.perf_counter()
    done = subprocess.run([*hotlap, "--", *command], capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        sys.exit(f"{path.name}: {done.stderr}")
    found = json.loads(done.stdout)
    run = read_run(Path(found["directory"]))
    leaves = [abs(math.fsum(step.phases.values()) / step.wall - 1) for step in run.steps]
    budget = found["diagnosis"]["budget"]
    wall = budget.pop("wall")
    parts = math.fsum(value for value in budget.values() if isinstance(value, float))
    outside = float((Path(folder) / "ended").read_text()) - float((Path(folder) / "began").read_text())
    # One thread is what this benchmark has set.
    every = [each["code"] for each in found["diagnosis"]["findings"]]
    findings = [code for code in every if code != "HOST05" or truth == code]
    return {
        "findings": findings,
        "causes": [code for code in findings if not rule(code).information],
        "leaves": max(leaves),
        "budget": parts / wall - 1,
        "unexplained": budget.get("unexplained", 0.0) / wall,
        "stopwatch": wall / outside - 1,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    about = circumstances()
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(CASES.glob("*.py")):
        truth = said(path, "truth", "")
        if not truth:
            continue
        each = results[path.stem] = {"truth": truth, "what": path.read_text().splitlines()[0].strip('"'), "runs": []}
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                each["runs"].append(profile(path, truth, int(said(path, "ranks", "1")), folder))
        codes = [code.strip() for code in truth.split("|")]
        each["right"] = sum(
            not run["causes"] if codes == ["none"] else run["findings"][:1] and run["findings"][0] in codes
            for run in each["runs"]
        )
        print(f"{path.stem}: {each['right']} of {runs}", file=sys.stderr)
    write_whole(RESULTS / "planted.json", msgspec.json.encode({**about, "runs": runs, "results": results}) + b"\n")
    every = [run for each in results.values() for run in each["runs"]]
    right, total = sum(each["right"] for each in results.values()), len(every)
    lines = [
        "# Planted causes",
        "",
        f"{right} of {total} runs right. Largest difference of a step's leaves from its wall time: "
        f"{100 * max(run['leaves'] for run in every):.4f} %; of the budget's parts from the process's wall clock: "
        f"{100 * max(abs(run['budget']) for run in every):.4f} %, of which unexplained at most "
        f"{100 * max(abs(run['unexplained']) for run in every):.2f} %; of that wall clock from a stopwatch around the "
        f"training: {100 * max(abs(run['stopwatch']) for run in every):.2f} %.",
        "",
        "| script | planted | truth | right | first findings |",
        "|---|---|---|---|---|",
    ]
    for name, each in results.items():
        firsts = ", ".join(dict.fromkeys((run["causes"] or run["findings"] or ["none"])[0] for run in each["runs"]))
        lines.append(f"| {name} | {each['what']} | {each['truth']} | {each['right']} of {runs} | {firsts} |")
    lines += ["", sentence(about), ""]
    write_whole(RESULTS / "planted.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
