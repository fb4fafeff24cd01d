"""Two commands against each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import SLOW_FETCH

from hotlap.errors import TrainingFailed
from hotlap.launch import Limits
from hotlap.records import Comparison, Effect, Environment, SameTraining, read_record
from hotlap.tune.compare import compare, regression
from hotlap.tune.options import Options

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, sleep in (("slow", 0.02), ("quick", 0.002)):
        Path(f"{name}.py").write_text(SLOW_FETCH.format(sleep=sleep, steps=-1))


def compared(a: list[str], b: list[str], **options: Any) -> tuple[Comparison, Path]:
    return compare(a, b, Options(**options), lambda message: None)


@pytest.mark.noisy
def test_b_sleeps_less_and_is_faster_and_the_same_training() -> None:
    """Ten times less, so that no noise can hide it."""
    comparison, directory = compared([sys.executable, "slow.py"], [sys.executable, "quick.py"], budget=120)
    assert comparison.judgement == "faster"
    assert comparison.effect.low > 1.2
    assert comparison.same_training.same is True
    assert comparison.same_training.numerics == "exact"
    assert comparison.a_step_seconds > comparison.b_step_seconds
    assert read_record(directory / "result.json", Comparison) == comparison
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".hotlap", "quick.py", "slow.py"]


def test_a_command_that_crashes_is_named() -> None:
    """With what it said."""
    Path("broken.py").write_text("raise SystemExit('no such data')")
    with pytest.raises(TrainingFailed, match="no such data"):
        compared([sys.executable, "quick.py"], [sys.executable, "broken.py"], budget=10)


def test_a_training_beyond_the_memory_limit_is_ended() -> None:
    """With the limit, as in a tuning."""
    command = [sys.executable, "quick.py"]
    with pytest.raises(TrainingFailed, match="memory"):
        compared(command, command, budget=10, limits=Limits(memory=1 << 20))


@pytest.mark.noisy
def test_another_training_that_is_as_fast_is_told_on_a_busy_machine() -> None:
    """A process per core spins meanwhile, which the result names. The learning rate does more than seeds do here."""
    other = Path("quick.py").read_text().replace("lr=0.001", "lr=0.2")
    Path("other.py").write_text(other)
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        comparison, _ = compared([sys.executable, "quick.py"], [sys.executable, "other.py"], budget=10)
    finally:
        for each in spinning:
            each.kill()
            each.wait()
    assert comparison.judgement in ("not faster", "unclear")
    assert comparison.same_training.same is False
    assert any("another load held" in warning for warning in comparison.warnings)


def made_up(judgement: Any, ratio: float, low: float, high: float, same: bool | None = True) -> Comparison:
    return Comparison(
        name="x",
        date="",
        a=["a"],
        b=["b"],
        environment=Environment(hotlap="0", python="3"),
        effect=Effect(ratio=ratio, low=low, high=high, n=9, confidence=0.99, pairs=[]),
        judgement=judgement,
        same_training=SameTraining(same=same, numerics="rounding", evidence="losses shift"),
        a_step_seconds=1.0,
        b_step_seconds=1.0,
    )


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (made_up("slower", 0.8, 0.7, 0.9), "it is slower: 0.80x [0.70, 0.90], 9 pairs"),
        (made_up("faster", 1.2, 1.1, 1.3, same=False), "it is another training: losses shift"),
        (made_up("unclear", 0.9, 0.6, 1.3), "it looks slower, and that it is not could not be shown"),
        (made_up("not faster", 0.95, 0.9, 1.01), "it looks slower"),
        (made_up("unclear", 0.99, 0.6, 1.3), None),
        (made_up("not faster", 1.0, 0.99, 1.01), None),
        (made_up("unclear", 1.3, 0.9, 1.7), None),
        (made_up("faster", 1.3, 1.2, 1.7, same=None), None),
    ],
)
def test_what_is_a_regression(comparison: Comparison, reason: str | None) -> None:
    """Slower, another training, or unclear and leaning to the slow side by more than the minimum gain."""
    told = regression(comparison)
    assert (told or "").startswith(reason or "")
    assert (told is None) == (reason is None)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([sys.executable, "quick.py"], ["FOO=1", sys.executable, "quick.py"], r"--b: .* write `env FOO=1 \.\.\.`"),
        (["cd", "elsewhere"], [sys.executable, "quick.py"], "--a: there is no program cd: .* without a shell"),
        ([sys.executable, "-c", "raise SystemExit(4)"], [sys.executable, "quick.py"], "A crashed after 0 steps"),
    ],
)
def test_which_of_them_fails_is_said(a: list[str], b: list[str], said: str) -> None:
    with pytest.raises(TrainingFailed, match=said):
        compared(a, b, budget=60)
