"""Runs the scripts of this folder, each in a folder of its own, with the probe inside and without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fits import Fitted, told

from hotlap.launch import Plan, Training
from hotlap.records import Environment

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, and threads do not wait for each other."""
    for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fitted]:
    """Run a script of this folder, or a text, with the probe inside."""

    def run(*words: str) -> Fitted:
        (tmp_path / "with").mkdir()
        monkeypatch.chdir(tmp_path / "with")
        directory = tmp_path / "run"
        command = [sys.executable, str(SCRIPTS / f"{words[0]}.py"), *words[1:]]
        with Training(command, directory, Plan(), known_environment=Environment(hotlap="0", python="3")) as training:
            training.wait()
        output = (directory / "output.log").read_text()
        assert "hotlap:" not in output, output
        assert training.run().info.outcome == "finished", output
        return Fitted(training.run(), told(output), output)

    return run


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a script says of its training when it runs without the probe."""

    def run(*words: str) -> dict[str, Any]:
        (tmp_path / "without").mkdir()
        command = [sys.executable, str(SCRIPTS / f"{words[0]}.py"), *words[1:]]
        done = subprocess.run(command, cwd=tmp_path / "without", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return told(done.stdout)

    return run
