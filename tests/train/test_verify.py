"""The checklist after a training: each line fails when it should, and says n/a when nobody knows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotlap.errors import ConfigError, RunError, TrainingFailed
from hotlap.train.config import RestorationConfig
from hotlap.train.loop import train
from hotlap.train.verify import Check, describe, verify

Make = Callable[..., RestorationConfig]
MB = 2**20


@pytest.fixture
def trained(small: Make, tmp_path: Path) -> Path:
    train(small(steps=20, lr=3e-3, goals={"psnr": 10.0}))
    return tmp_path / "run"


def check(folder: Path, name: str) -> Check:
    return next(each for each in verify(folder) if each.name == name)


def rewrite(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = folder / "log.jsonl"
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    change(lines)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def goals(folder: Path, **asked: float) -> None:
    path = folder / "config.json"
    config = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**config, "goals": asked}))


def look(**changes: Any) -> dict[str, Any]:
    usual = {"process_memory": 500 * MB, "system_memory": 1, "total_memory": 2, "cpu": 50.0, "data_time_ms": 1.0}
    return {**usual, "step_ms": 100.0, "disk_wait": 0.1, **changes}


def test_a_real_training(trained: Path) -> None:
    """What was asked and recorded is judged; the rest is n/a."""
    verdicts = {each.name: each.verdict for each in verify(trained)}
    assert verdicts["finished"] == verdicts["no NaN or Inf"] == verdicts["checkpoint loads"] == verdicts["psnr"] == "ok"
    assert verdicts["throughput"] == verdicts["ssim"] == verdicts["GPU utilization"] == verdicts["GPU memory"] == "n/a"
    assert verdicts["no memory leak"] == "n/a"
    assert verdicts["data time"] in ("ok", "failed")


def test_quality_below_what_was_asked(trained: Path) -> None:
    goals(trained, psnr=99.0)
    assert check(trained, "psnr").verdict == "failed"
    assert "99 is asked" in check(trained, "psnr").evidence


def test_a_goal_for_what_was_never_measured_fails(trained: Path) -> None:
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 1, "loss": 1.0}]))
    assert (check(trained, "psnr").verdict, check(trained, "psnr").evidence) == (
        "failed",
        "none was logged, and 10 is asked",
    )


def test_throughput(trained: Path) -> None:
    goals(trained, throughput=1e9)
    assert check(trained, "throughput").verdict == "failed"
    goals(trained, throughput=0.001)
    assert check(trained, "throughput").verdict == "ok"


def test_an_unknown_goal_is_refused(trained: Path) -> None:
    goals(trained, psnrr=30.0)
    with pytest.raises(ConfigError, match=r"no 'psnrr' to check; did you mean 'psnr'\?"):
        verify(trained)


def test_a_loss_that_is_no_number(small: Make, tmp_path: Path) -> None:
    """A real training that ends with it, after a good checkpoint."""
    with pytest.raises(TrainingFailed):
        train(small(optimizer="sgd", lr=1e12, grad_clip=0.0, steps=30, save_every=1))
    found = check(tmp_path / "run", "no NaN or Inf")
    assert found.verdict == "failed"
    assert re.search(r"loss is none from step \d on", found.evidence)
    assert check(tmp_path / "run", "finished").verdict == "failed"
    assert check(tmp_path / "run", "checkpoint loads").verdict == "ok"


def test_convergence(trained: Path) -> None:
    """A loss that still falls by a tenth has not converged, one that rose has not either, a flat end has."""

    def losses(values: list[float]) -> None:
        rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 1, "loss": each} for each in values]))

    goals(trained)
    losses([2.0 * 0.9 ** (i // 4) for i in range(32)])
    assert check(trained, "loss converged").verdict == "failed"
    losses([2.0] * 8 + [1.0] * 24)
    assert check(trained, "loss converged").verdict == "ok"
    losses([1.0] * 8 + [2.0] * 24)
    assert check(trained, "loss converged").verdict == "failed"
    losses([2.0, 1.0])
    assert check(trained, "loss converged").verdict == "n/a"


def test_checkpoints(trained: Path) -> None:
    path = trained / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert check(trained, "checkpoint loads").verdict == "failed"
    assert "checkpoint.pt is cut off, or none of this trainer" in check(trained, "checkpoint loads").evidence
    path.unlink()
    assert "no checkpoint.pt" in check(trained, "checkpoint loads").evidence


def test_a_checkpoint_of_another_training(trained: Path) -> None:
    """It is ahead of the log."""
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 3, "loss": 1.0}]))
    assert "of another training" in check(trained, "checkpoint loads").evidence


def test_an_end_that_was_logged_before_it_went_on(small: Make, trained: Path) -> None:
    """A training that is resumed and killed has no end, though its beginning had."""
    resumed = small(steps=25, lr=3e-3, resume=str(trained / "checkpoint.pt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hotlap.train.loop.Log.finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(resumed)
    assert check(trained, "finished").verdict == "failed"


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("reached", "verdict"), [(21.0, "ok"), (4.8, "failed")])
def test_a_training_that_is_worse_than_none(trained: Path, reached: float, verdict: str) -> None:
    ends = [{"step": 1, "loss": 1.0, "val_psnr": reached}, {"step": 1, "finished": True, "simple_psnr": 20.0}]
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), ends))
    assert check(trained, "better than not learning").verdict == verdict


def test_a_part_of_the_loss_that_is_there_now_and_then(trained: Path) -> None:
    """Lines with it are left out where most have none."""
    losses = [{"step": 1, "loss": 1.0, "l1": 1.0}] * 8 + [{"step": 1, "loss": 0.5, "l1": 0.5}] * 24
    for index in range(3, 32, 4):
        losses[index] = {"step": 1, "loss": 9.0, "l1": 0.5, "perceptual": 8.5}
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), losses))
    assert check(trained, "loss converged").verdict == "ok"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("data time", {"data_time_ms": 9.0}, {"data_time_ms": 11.0}),
        ("data time", {"data_time_ms": 19.0, "step_ms": 600.0}, {"data_time_ms": 19.0, "step_ms": 300.0}),
        ("CPU", {"cpu": 84.0, "gpu_total": 100}, {"cpu": 86.0, "gpu_total": 100}),
        ("disk", {"disk_wait": 1.0}, {"disk_wait": 30.0}),
        ("GPU utilization", {"gpu_utilization": 91.0}, {"gpu_utilization": 20.0}),
        ("GPU memory", {"gpu_peak": 90, "gpu_total": 100}, {"gpu_peak": 97, "gpu_total": 100}),
    ],
)
def test_the_machine(trained: Path, name: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    for figures, verdict in ((good, "ok"), (bad, "failed")):

        def change(lines: list[dict[str, Any]], figures: dict[str, Any] = figures) -> None:
            lines[:] = [line for line in lines if "health" not in line] + [{"step": 1, "health": look(**figures)}] * 3

        rewrite(trained, change)
        assert check(trained, name).verdict == verdict


def test_the_cache(trained: Path) -> None:
    """Of what was asked after the first look, which is its filling."""
    looks = [{"cache_hits": 0, "cache_misses": 100}, {"cache_hits": 80, "cache_misses": 120}]
    held = {"cache_bytes": 3 * MB, "cache_budget": 4 * MB}
    rewrite(trained, lambda lines: lines.extend({"step": 1, "health": look(**each, **held)} for each in looks))
    found = check(trained, "cache hit rate")
    assert (found.verdict, found.evidence) == ("n/a", "80.0 % (80 hits, 20 misses; 3 of 4 MiB); goals names none")
    # Counted from 0 again after a resume.
    again = look(cache_hits=5, cache_misses=40, **held)
    rewrite(trained, lambda lines: lines.append({"step": 2, "health": again}))
    assert check(trained, "cache hit rate").evidence.startswith("11.1 % (5 hits, 40 misses;")
    rewrite(trained, lambda lines: lines.pop())
    goals(trained, hit_rate=75.0)
    assert check(trained, "cache hit rate").verdict == "ok"
    goals(trained, hit_rate=85.0)
    assert check(trained, "cache hit rate").verdict == "failed"


def test_a_training_on_the_processor_may_use_all_of_it(trained: Path) -> None:
    rewrite(trained, lambda lines: lines.append({"step": 1, "health": look(cpu=99.0)}))
    assert check(trained, "CPU").verdict == "n/a"


def test_a_time_that_was_asked_for_is_kept_to(trained: Path) -> None:
    goals(trained, data_time_ms=10.0)
    late = {"step": 1, "health": look(data_time_ms=19.0, step_ms=600.0)}
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 1, "loss": 1.0}, *[late] * 3]))
    found = check(trained, "data time")
    assert found.verdict == "failed"
    assert "or 5 %" not in found.evidence


def test_a_leak_is_told_from_a_cache_that_fills(trained: Path) -> None:
    """Growth to the end is a leak; growth that ended before the last looks, and noise, are none."""

    def sizes(values: list[float]) -> None:
        looks = [{"step": 1, "health": look(process_memory=round(each * MB))} for each in values]
        rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 1, "loss": 1.0}, *looks]))

    goals(trained)
    sizes([500 + 5 * i for i in range(20)])
    assert check(trained, "no memory leak").verdict == "failed"
    sizes([300 + 20 * min(i, 10) for i in range(31)])
    assert check(trained, "no memory leak").verdict == "ok"
    sizes([500 + 30 * (i % 3) for i in range(20)])
    assert check(trained, "no memory leak").verdict == "ok"
    filling = [{"process_memory": (500 + 20 * i) * MB, "cache_bytes": 20 * i * MB} for i in range(20)]
    looks = [{"step": 1, "health": look(**each)} for each in filling]
    rewrite(trained, lambda lines: lines.__setitem__(slice(None), [{"step": 1, "loss": 1.0}, *looks]))
    assert check(trained, "no memory leak").verdict == "ok"


def test_the_command(trained: Path) -> None:
    """A line each, and exit code 1 when one fails."""
    command = [sys.executable, "-m", "hotlap", "verify", str(trained)]
    rewrite(trained, lambda lines: lines[:] and lines.append({"step": 1, "health": look(cpu=1.0)}))
    goals(trained, psnr=10.0, cpu=100.0, data_time_ms=1e9, loss_change=1e9, disk_wait=100.0)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "0 failed" in done.stdout, done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    goals(trained, psnr=99.0, cpu=100.0, data_time_ms=1e9, loss_change=1e9, disk_wait=100.0)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "FAILED  psnr" in done.stdout
    assert (done.returncode, done.stderr.strip()) == (1, "hotlap: failed: psnr")
    assert "FAILED" in describe(verify(trained))


def test_what_is_no_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no training"):
        verify(tmp_path)
