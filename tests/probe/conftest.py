"""Runs the scripts of this folder with the probe inside, and proves that nothing of them is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from recordings import SCRIPTS, Pull, Recorded, Told, told

from gloo import aborted
from hotlap.launch import Limits, Plan, Training
from hotlap.launch.environment import environment
from hotlap.records import Environment, Run

#: What a script whose levers are pulled begins with.
_PRELUDE = """
import json, os, random, sys, torch, numpy
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset
torch.set_num_threads(1)
torch.manual_seed(0)
seen = {}
class Data(Dataset):
    def __len__(self): return 12
    def __getitem__(self, i): return torch.full((4,), float(i)), torch.tensor([float(i % 2)])
def network(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
"""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """A test leaves no child process, no variable and no probe behind."""
    variables = dict(os.environ)
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    # pytest itself keeps the name of the running test there.
    variables.pop("PYTEST_CURRENT_TEST", None)
    left = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    assert left == variables
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children
    probe = sys.modules.get("hotlap.probe")
    assert getattr(probe, "active", None) is None


@pytest.fixture(scope="session")
def machine() -> Environment:
    return environment()


@pytest.fixture
def record(tmp_path: Path, machine: Environment) -> Callable[..., Recorded]:
    """Run a command with the probe inside; a name alone is a script of this folder."""

    def run(*words: str, plan: Plan | None = None) -> Recorded:
        command = list(words)
        if not command[0].startswith("-"):
            command[0] = str(SCRIPTS / f"{command[0]}.py")
        names = ("run", *(f"run{number}" for number in range(2, 9)))
        for _ in range(2):
            directory = next(tmp_path / name for name in names if not (tmp_path / name).exists())
            with Training([sys.executable, *command], directory, plan or Plan(), known_environment=machine) as training:
                training.wait()
            output = (directory / "output.log").read_text()
            if not aborted(output):
                break
        assert "hotlap:" not in output, output
        return Recorded(training.run(), told(output), output, directory)

    return run


@pytest.fixture(scope="session")
def without_probe() -> Callable[..., Told]:
    """What a script says of its training when it runs alone. Several run in one process, to import torch once."""

    def run(*scripts: str) -> dict[str, Told]:
        code = (
            "import runpy, sys\n"
            f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
            "for words in sys.argv[1:]:\n"
            "    sys.argv[1:] = words.split()[1:]\n"
            f"    print('SCRIPT', words)\n"
            f"    runpy.run_path({str(SCRIPTS)!r} + '/' + words.split()[0] + '.py', run_name='__main__')\n"
        )
        done = subprocess.run([sys.executable, "-c", code, *scripts], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = {}
        for part in done.stdout.split("SCRIPT ")[1:]:
            said = told(part)
            assert said is not None
            found[part.splitlines()[0]] = said
        return found

    known: dict[str, Told] = {}

    def look_up(script: str, everything: tuple[str, ...] = ()) -> Told:
        if script not in known:
            known.update(run(*(everything or (script,))))
        return known[script]

    return look_up


@pytest.fixture
def pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Run a script with levers pulled; return what it found out, and the record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def run(
        script: str, levers: dict[str, Any], name: str = "run", ranks: int = 1, **plan: Any
    ) -> tuple[dict[str, Any], Run]:
        (tmp_path / "train.py").write_text(_PRELUDE + script + "\njson.dump(seen, open('seen.json', 'w'))\n")
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        command, known = [sys.executable, *torchrun, "train.py"], Environment(hotlap="0", python="3")
        options = Plan(levers=levers, **plan)
        for place in (name, f"{name} again"):
            with Training(command, tmp_path / place, options, Limits(silence=90), known_environment=known) as training:
                training.wait()
            if not aborted((tmp_path / place / "output.log").read_text()):
                break
        assert training.run().info.outcome == "finished", training.tail()
        return json.loads((tmp_path / "seen.json").read_text()), training.run()

    return run
