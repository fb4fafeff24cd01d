"""Two commands against each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import SLOW_FETCH

from hotlap.errors import TrainingFailed
from hotlap.launch import Limits
from hotlap.records import Comparison, read_record
from hotlap.tune.compare import compare
from hotlap.tune.options import Options

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, sleep in (("slow", 0.02), ("quick", 0.002)):
        Path(f"{name}.py").write_text(SLOW_FETCH.format(sleep=sleep, steps=-1))


def compared(a: list[str], b: list[str], **options: Any) -> tuple[Comparison, Path]:
    return compare(a, b, Options(**options), lambda message: None)


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


def test_the_same_command_is_not_faster_than_itself() -> None:
    """Whatever the noise, and it is the same training."""
    command = [sys.executable, "quick.py"]
    comparison, _ = compared(command, command, budget=10)
    assert comparison.judgement in ("not faster", "unclear")
    assert comparison.same_training.same is True


def test_another_training_is_told_from_the_same() -> None:
    """Twice the learning rate is a hundred times what seeds do here."""
    other = Path("quick.py").read_text().replace("lr=0.001", "lr=0.2")
    Path("other.py").write_text(other)
    comparison, _ = compared([sys.executable, "quick.py"], [sys.executable, "other.py"], budget=10)
    assert comparison.same_training.same is False


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
