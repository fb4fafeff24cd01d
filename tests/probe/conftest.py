"""Runs the scripts of this folder with the probe inside, and proves that nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from recordings import Recorded, Told, told

from hotlap.launch import Plan, Training
from hotlap.launch.environment import environment
from hotlap.records import Environment

SCRIPTS = Path(__file__).parent / "scripts"


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
        directory = next(tmp_path / name for name in names if not (tmp_path / name).exists())
        with Training([sys.executable, *command], directory, plan or Plan(), known_environment=machine) as training:
            training.wait()
        output = (directory / "output.log").read_text()
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
