"""Whole scripts with one planted cause each: it must be the first finding. Healthy ones must get none.

A script's comments tell its truth: ``# truth: CODE`` (or ``CODE | CODE`` where two rules see the same cause, or
``none``), ``# also: CODE`` what must be found beside it, ``# evidence: words`` what the first finding must say,
``# ranks: N`` that torchrun starts it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gloo import aborted
from hotlap.diagnose import catalogue, rule
from hotlap.launch.rundir import read_lines

HERE = Path(__file__).parent
KNOWN = {each.code for each in catalogue()}


class Case(NamedTuple):
    path: Path
    truth: list[str]
    also: list[str]
    evidence: list[str]
    ranks: int


def read(path: Path) -> Case:
    said: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        word, colon, value = line.removeprefix("# ").partition(": ")
        if line.startswith("# ") and colon:
            said.setdefault(word, []).append(value)
    truth = [code.strip() for code in said["truth"][0].split("|")]
    return Case(path, truth, said.get("also", []), said.get("evidence", []), int(said.get("ranks", ["1"])[0]))


CASES = [read(path) for path in sorted(HERE.glob("*.py")) if path != Path(__file__)]
PLANTED = [case for case in CASES if case.truth != ["none"]]
HEALTHY = [case for case in CASES if case.truth == ["none"]]


def profile(case: Case, directory: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if case.truth != ["none"]:
        # Threads that wait for one another on a busy machine would be a second cause beside the planted one.
        environment["OMP_NUM_THREADS"] = "1"
    python = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={case.ranks}"]
    command = [*(python if case.ranks > 1 else python[:1]), str(case.path)]
    hotlap = [sys.executable, "-m", "hotlap", "profile", "--json", "--run-dir", str(directory / "runs")]
    for _ in range(2):
        done = subprocess.run([*hotlap, "--", *command], capture_output=True, text=True, env=environment, cwd=directory)
        if not aborted(done.stderr):
            break
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def adds_up(found: dict[str, Any]) -> None:
    """Leaves to each step's wall within 1 %, the budget's parts to the process's within 2 %."""
    steps = [line for line in read_lines(Path(found["directory"]) / "steps.jsonl") if line["k"] == "step"]
    assert len(steps) > 20
    for step in steps:
        assert math.fsum(step["phases"].values()) == pytest.approx(step["wall"], rel=0.01)
    budget = found["diagnosis"]["budget"]
    wall = budget.pop("wall")
    assert wall == pytest.approx(found["info"]["ended"] - found["info"]["started"], rel=0.02)
    parts = [value for value in budget.values() if isinstance(value, float)]
    assert math.fsum(parts) == pytest.approx(wall, rel=0.02)
    assert min(parts) > -0.02 * wall


@pytest.mark.noisy
@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.path.stem)
def test_the_planted_cause_is_the_first_finding(case: Case, tmp_path: Path) -> None:
    known = KNOWN & set(case.truth)
    if not known:
        pytest.skip(f"no rule {' or '.join(case.truth)} yet")
    found = profile(case, tmp_path)
    # One thread is what this test has set.
    findings = [each for each in found["diagnosis"]["findings"] if each["code"] != "HOST05" or case.truth == ["HOST05"]]
    codes = [finding["code"] for finding in findings]
    if case.truth == ["HOST05"] and found["facts"]["idle_cores"] < 1:
        pytest.skip("the machine had no idle core")
    assert codes[0] in known, codes
    for code in case.also:
        assert code in codes or code not in KNOWN, codes
    said = " ".join(findings[0]["evidence"])
    assert all(words in said for words in case.evidence), said
    adds_up(found)


@pytest.mark.noisy
@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.path.stem)
def test_a_healthy_training_gets_no_finding(case: Case, tmp_path: Path) -> None:
    found = profile(case, tmp_path)
    findings = found["diagnosis"]["findings"]
    complaints = {finding["code"]: finding["evidence"] for finding in findings if not rule(finding["code"]).information}
    assert complaints == {}
    adds_up(found)


def test_there_are_enough_cases() -> None:
    assert len(PLANTED) >= 25
    assert len(HEALTHY) >= 6


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path.stem)
def test_a_case_says_what_it_is(case: Case) -> None:
    lines = case.path.read_text().splitlines()
    assert lines[0].startswith('"""')
    assert lines[0].endswith('."""')
