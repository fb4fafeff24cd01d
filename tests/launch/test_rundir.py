"""Run directories: made, filled up, cut off, too new."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotlap.errors import RunError
from hotlap.launch import Limits, Plan, Training, new_run_directory, read_run
from hotlap.launch.rundir import has_room
from hotlap.probe.writer import Writer
from hotlap.records import SCHEMA, Environment, RunInfo, write_record

ENVIRONMENT = Environment(hotlap="0.1", python="3.11")


def _written(path: Path) -> Path:
    """A run directory as launch and probe leave it."""
    path.mkdir()
    info = RunInfo(
        name="x",
        command=["python", "train.py"],
        cwd="/",
        environment=ENVIRONMENT,
        started=0.0,
        ended=9.0,
        date="2026-01-01",
        outcome="finished",
    )
    write_record(path / "run.json", info)
    writer = Writer(str(path / "steps.jsonl"))
    writer.line("start", t=0.5, pid=1, torch="2", rank="0")
    writer.line("plan", id=0, phases=["forward", "backward"], slots=[0, 1], micro_batches=1)
    moments = [1_000, 1_600, 2_000, 2_600, 3_000, 3_600, 4_000, 4_600, 5_000]
    times = [each * 10**6 for each in moments]
    writer.steps(0, 0, times[:5], [8, 8], [0.5, 0.5])
    writer.steps(2, 0, times[4:], [8, 8], [float("nan"), 0.5])
    writer.line("metric", name="psnr", value=30.5, step=4)
    writer.line("note", text="a lever could not be pulled")
    writer.line("facts", device="cpu", parameters=10, batch_size=8)
    writer.line("facts", peak_memory=5)
    writer.line("end", t=6.0, outcome="finished", steps=4, backwards=4)
    writer.flush()
    assert writer.descriptor is not None
    os.close(writer.descriptor)
    return path


def test_read(tmp_path: Path) -> None:
    """What was written comes back, a loss that is no number too."""
    run = read_run(_written(tmp_path / "run"))
    assert [step.i for step in run.steps] == [0, 1, 2, 3]
    assert run.steps[2].loss != run.steps[2].loss
    assert run.metrics[0].value == 30.5
    assert run.notes == ["a lever could not be pulled"]
    assert run.facts.batch_size == 8


def test_a_launcher_has_no_facts(tmp_path: Path) -> None:
    """What torchrun itself knows, which trains nothing, does not stand for the training."""
    assert read_run(_written(tmp_path / "run")).facts.peak_memory is None


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """A run that was cut off at any byte is read up to the last whole line."""
    path = _written(tmp_path / "run")
    lines = path / "steps.jsonl"
    whole = lines.read_bytes()
    counts = set()
    for size in range(len(whole)):
        lines.write_bytes(whole[:size])
        run = read_run(path)
        counts.add(len(run.steps))
        assert [step.i for step in run.steps] == list(range(len(run.steps)))
    assert counts == {0, 2, 4}
    middle = whole.index(b'"i":2')
    lines.write_bytes(whole[:middle] + b"\0" * 50 + b'\n7\n["k"]\n{"a": 1}\n' + whole[middle:])
    assert len(read_run(path).steps) == 2
    lines.unlink()
    assert read_run(path).steps == []


@pytest.mark.parametrize("name", ["run.json", "steps.jsonl"])
def test_newer(tmp_path: Path, name: str) -> None:
    """A file of a newer hotlap is refused in plain words."""
    path = _written(tmp_path / "run")
    file = path / name
    if name == "run.json":
        file.write_text(file.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}'))
    else:
        file.write_text('{"k": "start", "schema": 99}\n')
    with pytest.raises(RunError, match=rf"{name} has schema .*, written by a newer hotlap.*: upgrade hotlap"):
        read_run(path)


def test_a_step_of_another_shape(tmp_path: Path) -> None:
    """A line that is no step of ours is named, not half read."""
    path = _written(tmp_path / "run")
    (path / "steps.jsonl").write_text('{"k": "step", "i": "first"}\n')
    with pytest.raises(RunError, match=r"cannot be read: steps\.jsonl holds a line that no probe"):
        read_run(path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("steps.jsonl", {"k": "steps", "i": 4, "plan": 0, "times": [1, 2, 3], "samples": [8, 8], "losses": [0.5]}),
        ("steps.jsonl", {"k": "steps", "i": 4, "plan": 0, "times": [1, 2, 3], "samples": [8], "losses": ["low"]}),
        ("steps.jsonl", {"k": "start", "t": 1.0, "imported": "now"}),
        ("steps.jsonl", {"k": "note", "text": {}}),
        ("steps.rank1.jsonl", {"k": "steps", "i": 4, "plan": 0, "times": [1, 2, 3], "samples": ["8"], "losses": [0.5]}),
    ],
)
def test_a_line_that_no_probe_writes(tmp_path: Path, name: str, line: dict[str, Any]) -> None:
    """Whatever stands there instead of figures is refused by its file, and never half read."""
    path = _written(tmp_path / "run")
    file = path / name
    text = (path / "steps.jsonl").read_text().replace('{"k": "start"', '{"k": "started"')
    file.write_text(text + json.dumps(line) + "\n")
    with pytest.raises(RunError, match=r"holds a line that no probe|is no record of a rank"):
        read_run(path)


def test_figures_that_are_no_numbers(tmp_path: Path) -> None:
    """A fact that is not finite is not known; half a character, as in a file's name, is shown as a question mark."""
    path = _written(tmp_path / "run")
    facts = '{"k": "facts", "device": "cpu", "batch_size": 8, "fetch_seconds": NaN}'
    note = r'{"k": "note", "text": "a\udcff \ud83d\ude00"}'
    with (path / "steps.jsonl").open("a") as file:
        file.write(f"{facts}\n{note}\n")
    run = read_run(path)
    assert run.facts.fetch_seconds is None
    assert run.facts.batch_size == 8
    assert run.notes[-1] == "a? \U0001f600"


def test_no_run(tmp_path: Path) -> None:
    """A directory that is no run is refused."""
    with pytest.raises(RunError, match=r"is not a run directory: it has no run\.json"):
        read_run(tmp_path)


def test_names(tmp_path: Path) -> None:
    """Directories made in the same second have names of their own."""
    made = {new_run_directory("profile", tmp_path / "runs") for _ in range(3)}
    assert len(made) == 3
    assert all(path.is_dir() and path.is_absolute() for path in made)


def test_no_place(tmp_path: Path) -> None:
    """A root that is a file, or in which nothing may be made, is refused in plain words."""
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/hotlap")):
        with pytest.raises(RunError, match=r"cannot make (a|the) run directory"):
            new_run_directory("profile", root)


def test_full_disk(disk_of: Callable[[int], Path]) -> None:
    """A disk that is too full to record anything is refused before the training starts."""
    small_disk = disk_of(1)
    with pytest.raises(RunError, match=r"the disk of .* is full: \d MB are free, 32 MB are needed; free some space"):
        Training(["true"], small_disk / "run", Plan(), Limits(), known_environment=ENVIRONMENT)
    has_room(small_disk, needed=1000)


def test_disk_fills_up(disk_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while a training runs ends with an error in plain words, and no half file."""
    small_disk = disk_of(1)
    monkeypatch.setattr("hotlap.launch.process.has_room", lambda path: None)
    training = Training(
        ["sh", "-c", "head -c 4000000 /dev/zero"], small_disk / "run", Plan(), known_environment=ENVIRONMENT
    )
    training.wait()
    before = (training.directory / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"cannot write .*run\.json: No space left on device"):
        training.close()
    assert (training.directory / "run.json").read_bytes() == before


def test_what_lies_below_hotlap_is_hidden_from_git(tmp_path: Path) -> None:
    """As long as nobody wrote another file there, and in no other place that was chosen."""
    new_run_directory("profile", tmp_path / ".hotlap" / "runs")
    ignored = tmp_path / ".hotlap" / ".gitignore"
    assert ignored.read_text() == "*\n"
    ignored.write_text("mine\n")
    new_run_directory("profile", tmp_path / ".hotlap" / "runs")
    assert ignored.read_text() == "mine\n"
    new_run_directory("profile", tmp_path / "elsewhere")
    assert not list(tmp_path.glob("elsewhere/**/.gitignore"))
    assert not (tmp_path / ".gitignore").exists()
