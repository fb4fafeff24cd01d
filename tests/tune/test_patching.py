"""The diff of a script applies, trains as the levers do from outside, and can be taken back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from patched_scripts import CASES, PLAIN, Case

from gloo import aborted
from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment, Run
from hotlap.tune.patching import Patch, make_patch, write_copies


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def write(project: Path, case: Case) -> dict[Path, bytes]:
    for name, text in case.files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return content(project)


def content(project: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(project.rglob("*")) if path.is_file()}


def recorded(words: Sequence[str], directory: Path, plan: Plan) -> tuple[list[str], Run]:
    """Losses as the script prints them, and the record."""
    known = Environment(hotlap="0", python="3")
    command = [sys.executable, *words]
    for place in (directory, directory.with_name(f"{directory.name}_again")):
        with Training(command, place, plan, Limits(silence=90), known_environment=known) as training:
            training.wait()
        run = training.run()
        output = (place / "output.log").read_text(errors="replace")
        if not aborted(output):
            break
    assert run.info.outcome == "finished", output
    return losses(output), run


def losses(output: str) -> list[str]:
    found = [line for line in output.splitlines() if line.startswith("loss")]
    assert found, output
    return found


def tool(project: Path, *words: str, patch: Patch) -> None:
    done = subprocess.run(words, cwd=project, input=patch.diff, capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr, patch.shown)


@pytest.mark.parametrize("name", CASES)
def test_same_training_as_from_outside(name: str, project: Path, tmp_path: Path) -> None:
    """A patched script trains bit for bit as the unpatched one with levers from outside, and not as without."""
    case = CASES[name]
    before = write(project, case)
    without, run = recorded(case.words, tmp_path / "without", Plan())
    outside, _ = recorded(case.words, tmp_path / "outside", Plan(levers=case.levers))
    patch = make_patch(case.levers, run.sites)
    assert patch is not None
    assert (set(patch.native), set(patch.native) | set(patch.by_apply)) == (case.native, set(case.levers)), patch
    added = {line[1:].rstrip("\r") for line in patch.shown.split("\n") if line.startswith("+")}
    assert set(case.added) <= added, patch.shown
    assert content(project) == before
    tool(project, "patch", "-p1", "--dry-run", "--binary", patch=patch)
    tool(project, "git", "apply", "--check", patch=patch)
    tool(project, "git", "apply", patch=patch)
    assert {path.relative_to(project): data for path, data in content(project).items() if data != before[path]} == {
        Path(each): data for each, data in patch.files.items()
    }
    for _ in range(2):
        done = subprocess.run([sys.executable, *case.words], cwd=project, capture_output=True, timeout=90)
        if not aborted(done.stderr.decode()):
            break
    assert done.returncode == 0, done.stderr.decode()
    assert losses(done.stdout.decode()) == outside
    if "autocast" in case.levers:
        assert outside != without
    tool(project, "git", "apply", "-R", patch=patch)
    assert content(project) == before


def test_a_patch_is_tried_before_it_is_made(project: Path, tmp_path: Path) -> None:
    """Its copies train in the place of the user's files in a contained run, and the record knows what they apply."""
    levers = {"workers": 1, "fused": True, "autocast": "bfloat16"}
    before = write(project, Case({"train.py": PLAIN}, levers, set()))
    patch = make_patch(levers, None, ["python", "train.py"])
    assert patch is not None
    assert (patch.native, list(patch.by_apply)) == ([], list(levers))
    outside, _ = recorded(["train.py"], tmp_path / "outside", Plan(levers=levers, contained=True))
    plan = Plan(contained=True, copies=write_copies(patch, tmp_path / "copies"))
    patched, run = recorded(["train.py"], tmp_path / "patched", plan)
    assert patched == outside
    assert run.facts.applied == levers
    assert run.notes == []
    assert content(project) == before
