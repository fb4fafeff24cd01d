"""From a path to a record, or to a plain word on why not."""

from __future__ import annotations

import json
from pathlib import Path

import made_up
import msgspec
import pytest

from hotlap.errors import RunError
from hotlap.records import SCHEMA, Comparison, Run, Tuning, write_record
from hotlap.report import load, load_report


def run_directory(path: Path, n: int = 20) -> Path:
    run = made_up.run(n)
    write_record(path / "run.json", run.info)
    lines = [{"k": "step", **msgspec.to_builtins(step)} for step in run.steps]
    lines.append({"k": "facts", "device": "cpu", "workers": 0})
    (path / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_is_read_from_its_directory_or_its_file(tmp_path: Path) -> None:
    """A run directory, or the run.json in it, gives the run with its steps."""
    for path in (run_directory(tmp_path), tmp_path / "run.json"):
        run = load(path)
        assert isinstance(run, Run)
        assert len(run.steps) == 20
        assert run.facts.workers == 0


@pytest.mark.parametrize("name", ["result.json", "renamed.json"])
def test_a_result_is_known_by_what_it_holds(tmp_path: Path, name: str) -> None:
    """A tuning and a comparison are told apart by their content, whatever the file is called."""
    write_record(tmp_path / name, made_up.tuning())
    assert load(tmp_path / name) == made_up.tuning()
    write_record(tmp_path / name, made_up.comparison())
    assert load(tmp_path / name) == made_up.comparison()
    if name != "renamed.json":
        assert isinstance(load(tmp_path), Comparison)


def test_a_tuning_is_read_from_its_directory(tmp_path: Path) -> None:
    """A directory with a result is a tuning, although the journal of its trials lies there too."""
    write_record(tmp_path / "result.json", made_up.tuning())
    (tmp_path / "journal.jsonl").touch()
    assert isinstance(load(tmp_path), Tuning)


def test_any_record_becomes_a_page(tmp_path: Path) -> None:
    """The page of a path is that of the record that lies there."""
    assert load_report(run_directory(tmp_path / "run")).startswith("<!doctype html>")
    write_record(tmp_path / "result.json", made_up.tuning())
    assert "Faster" in load_report(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no record of hotlap"),
        ("{", "is no record of hotlap"),
        ("[1]", "is no record of hotlap"),
        ("{}", "neither a run, nor a tuning, nor a comparison"),
        ('{"schema": "new"}', "its schema is 'new'"),
        ('{"schema": null}', "its schema is None"),
        ('{"trials": [], "no_op": 1, "adopted": []}', "is not a hotlap tuning record"),
        ('{"a": 1, "b": [], "effect": {}}', "is not a hotlap comparison record"),
        (f'{{"schema": {SCHEMA + 1}, "trials": [], "no_op": 1, "adopted": []}}', "newer hotlap"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str, words: str) -> None:
    """What is no record, or a newer one, is refused with the file and the reason."""
    file = tmp_path / "result.json"
    file.write_text(content)
    for path in (file, tmp_path):
        with pytest.raises(RunError, match=words) as caught:
            load(path)
        assert str(file) in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A picture, or whatever else is no JSON, is refused in words."""
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(RunError, match="is no record of hotlap"):
        load(tmp_path / "x.png")


def test_a_path_without_a_record_is_refused(tmp_path: Path) -> None:
    """A missing path and a directory without a record say what to name instead."""
    with pytest.raises(RunError, match="there is no"):
        load(tmp_path / "missing")
    with pytest.raises(RunError, match=r"looked for result\.json .* run\.json .* journal\.jsonl .* name a directory"):
        load(tmp_path)
    with pytest.raises(RunError):
        load(Path("nul\0byte"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tune-0123-1", "the tuning in .* is not finished.*`hotlap tune` command again"),
        ("compare-0123-1", "the comparison in .* is not finished.*`hotlap compare` command again"),
    ],
)
def test_an_unfinished_tuning_or_comparison_says_how_to_go_on(tmp_path: Path, name: str, words: str) -> None:
    """A journal without a result is one that was stopped, and it goes on where it stopped."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "journal.jsonl").touch()
    with pytest.raises(RunError, match=words):
        load(tmp_path / name)


def test_a_run_without_its_frame_says_so(tmp_path: Path) -> None:
    """Steps without a run.json are a run whose hotlap did not live to write it."""
    (tmp_path / "steps.jsonl").touch()
    with pytest.raises(RunError, match=r"no run\.json, which says what ran.*record the run again"):
        load(tmp_path)


def test_a_run_with_a_line_that_no_probe_writes_is_refused(tmp_path: Path) -> None:
    """A step that is no step is an error in words, not a stack of calls."""
    run_directory(tmp_path)
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"k": "step", "i": "first"}\n')
    with pytest.raises(RunError):
        load(tmp_path)
