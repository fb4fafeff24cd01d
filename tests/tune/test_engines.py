"""Where the work of a tuning is done: on this machine, and on real Ray."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts import SLOW_FETCH

from hotlap.errors import RunError
from hotlap.launch.process import Limits
from hotlap.records import Environment, Facts
from hotlap.tune.arms import ArmFailed
from hotlap.tune.bench import Bench
from hotlap.tune.engines import Engine, Local
from hotlap.tune.target import Target
from hotlap.tune.work import Curving, curve


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SLOW_FETCH.format(sleep=0.001, steps=-1))
    return Target.of_command([sys.executable, "train.py"])


def local(target: Target, gpus: int = 0) -> Local:
    return Local(target, Path("runs").absolute(), Environment(hotlap="0", python="3", gpus=["X"] * gpus), Limits())


def place(bench: Bench, asked: Any) -> tuple[str, str | None, Any]:
    return bench.directory.name, bench.variables.get("CUDA_VISIBLE_DEVICES"), asked


def test_this_machine_does_one_thing_after_the_other(target: Target) -> None:
    """Without GPUs there is one bench, whatever the training."""
    engine = local(target)
    engine.settle(Facts(device="cpu"), shares=False)
    assert engine.slots == 1
    assert engine.map(place, [1, 2]) == [("arms", None, 1), ("arms", None, 2)]
    engine.close()


@pytest.mark.parametrize(
    ("facts", "slots"), [(Facts(device="cuda"), 3), (Facts(device="cuda", world_size=3), 1), (Facts(device="cpu"), 1)]
)
def test_each_gpu_has_a_bench(target: Target, monkeypatch: pytest.MonkeyPatch, facts: Facts, slots: int) -> None:
    """Of a training that uses one of them; and what is asked at once runs at once, in the order asked."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    engine = local(target, gpus=3)
    engine.settle(facts, shares=True)
    assert engine.slots == slots
    together = threading.Barrier(slots, timeout=10)

    def work(bench: Bench, asked: int) -> tuple[str | None, int]:
        together.wait()
        return bench.variables.get("CUDA_VISIBLE_DEVICES"), asked

    if slots > 1:
        found = engine.map(work, [1, 2, 3])
        assert {gpu for gpu, _ in found} == {None, "1", "2"}
        assert [asked for _, asked in found] == [1, 2, 3]
    engine.close()


def test_the_user_s_choice_of_gpus_is_kept(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight, two are ours."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    engine = local(target, gpus=8)
    engine.settle(Facts(device="cuda"), shares=True)
    assert engine.slots == 2
    assert {gpu for _, gpu, _ in engine.map(place, [0, 1, 2, 3])} <= {None, "6"}
    engine.close()


# Ray


@pytest.fixture
def on_ray(target: Target, tmp_path: Path) -> Iterator[Engine]:
    ray = pytest.importorskip("ray")
    from hotlap.tune.ray_engine import RayEngine

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    # Its processes cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        engine = RayEngine(target, tmp_path / "runs", Limits())
        yield engine
        engine.close()
    finally:
        ray.shutdown()
        # A child of a child may be there a moment longer.
        time.sleep(0.5)


def fails_at_first(bench: Bench, marker: str) -> str:
    """As when a machine is lost in the middle of it."""
    if not os.path.exists(marker):
        Path(marker).touch()
        os._exit(1)
    return bench.directory.name


def always_lost(bench: Bench, asked: Any) -> None:
    os._exit(1)


def fails(bench: Bench, asked: Any) -> None:
    raise ArmFailed("the training crashed after 3 steps: out of bounds")


@pytest.mark.slow
def test_on_ray(on_ray: Engine, tmp_path: Path) -> None:
    """A real training in an actor; a lost machine costs what ran on it, and an error arrives as itself."""
    on_ray.settle(Facts(device="cpu"), shares=True)
    assert on_ray.slots == 1
    (losses,) = on_ray.map(curve, [Curving(changes=[], steps=5, name="five")])
    assert len(losses) >= 5
    assert all(loss is not None for loss in losses)
    first = on_ray.map(place, [0])[0][0]
    assert on_ray.map(fails_at_first, [str(tmp_path / "lost")]) != [first]
    assert on_ray.slots == 1
    with pytest.raises(ArmFailed, match="out of bounds"):
        on_ray.map(fails, [0])
    with pytest.raises(RunError, match="lost 3 machines"):
        on_ray.map(always_lost, [0])
