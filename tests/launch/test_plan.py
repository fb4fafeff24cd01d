"""What a training finds in its environment, and what this machine is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hotlap.launch import Plan, environment
from hotlap.launch.environment import usable_cores, usable_memory


def test_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The probe's directory comes first in the user's own PYTHONPATH; without containment nothing else is set."""
    monkeypatch.setenv("PYTHONPATH", "/my/modules")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    environ = Plan().environ(tmp_path)
    site, rest = environ["PYTHONPATH"].split(os.pathsep)
    assert (Path(site) / "sitecustomize.py").exists()
    assert rest == "/my/modules"
    assert environ.keys() - os.environ.keys() == {"HOTLAP_PROBE"}
    monkeypatch.delenv("PYTHONPATH")
    assert Plan().environ(tmp_path)["PYTHONPATH"] == site


def test_trackers_stay_at_home(tmp_path: Path) -> None:
    """A contained training reports to no tracker, and what trackers write goes to the run directory."""
    environ = Plan(contained=True).environ(tmp_path)
    assert environ["WANDB_MODE"] == "offline"
    assert environ["WANDB_DIR"] == str(tmp_path)
    assert environ["MLFLOW_TRACKING_URI"] == (tmp_path / "mlruns").as_uri()


def test_environment() -> None:
    """The machine is described without torch: what can be used counts, not what is built in."""
    found = environment()
    assert found.cores == usable_cores() >= 1
    assert found.memory == usable_memory() > 0
    assert found.python
    assert found.platform


def test_environment_says_what_makes_two_results_comparable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores by number, what is free, and the variables that set threads; a variable that is not set is not there."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = environment()
    assert found.variables["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in found.variables
    assert len(found.affinity) >= found.cores
    assert (found.machine_cores or 0) >= len(found.affinity)
    assert found.memory is not None
    assert found.memory_available is not None
    assert 0 < found.memory_available <= found.memory or found.memory_limit is not None
    assert found.kernel
