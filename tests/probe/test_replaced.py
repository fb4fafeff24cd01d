"""Copies run in the place of the script's files, as the files would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment

_SCRIPT = """\
import inspect, json, multiprocessing, os, sys
import helper

def child(queue):
    queue.put([WHO, __name__, __file__, helper.WHO])

WHO = "original"
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(json.dumps({
        "who": WHO, "helper": helper.WHO, "helper file": helper.__file__, "file": __file__, "path": sys.path[0],
        "argv": sys.argv[1:], "data": open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")).read(),
        "child": queue.get(), "spec": getattr(__spec__, "name", None), "source": inspect.getsource(child).count("WHO"),
    }))
    process.join()
"""


@pytest.mark.parametrize("words", [["train.py"], ["-m", "train"]], ids=["script", "module"])
@pytest.mark.parametrize("contained", [False, True])
def test_as_the_files_would(words: list[str], contained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script, what it imports and what it spawns are the copies; where they are is where the files are."""
    project, copies = tmp_path / "project", tmp_path / "copies"
    files = {"train.py": _SCRIPT, "helper.py": 'WHO = "original"\n', "data": "beside the script"}
    for folder in (project, copies):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text.replace('"original"', f'"{folder.name}"'))
    monkeypatch.chdir(project)
    before = {path: path.read_bytes() for path in project.rglob("*")}
    seen = [
        run(words, tmp_path / f"run{number}", Plan(contained=contained, copies=each))
        for number, each in enumerate(
            ({}, {str(project / name): str(copies / name) for name in ("train.py", "helper.py")})
        )
    ]
    as_written = json.dumps(seen[0]).replace('"project"', '"copies"')
    assert seen[1] == json.loads(as_written)
    assert seen[1]["who"] == seen[1]["helper"] == seen[1]["child"][0] == seen[1]["child"][3] == "copies"
    assert {path: path.read_bytes() for path in project.rglob("*") if "__pycache__" not in str(path)} == before


def run(words: list[str], directory: Path, plan: Plan) -> dict[str, Any]:
    known = Environment(hotlap="0", python="3")
    command = [sys.executable, *words, "--an", "argument"]
    with Training(command, directory, plan, Limits(silence=90), known_environment=known) as training:
        training.wait()
    assert training.exit is not None
    assert training.exit["exit"] == 0, training.tail()
    found: dict[str, Any] = json.loads(training.tail().splitlines()[-1])
    return found
