"""``hotlap report``: which of its three forms goes where, on the committed result of the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotlap.cli import main

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "demo.result.json"
RATIO = f"{json.loads(RESULT.read_bytes())['effect']['ratio']:.2f}"


def leave(*words: str | Path) -> int:
    """Run the command line in this process, and return the exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_markdown_goes_to_a_pipe_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without -o it is what stdout holds, with it the file does, and stdout says where."""
    assert leave("report", RESULT, "--md") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"### Faster: {RATIO}×")
    assert leave("report", RESULT, "--md", "-o", tmp_path / "a.md") == 0
    assert (tmp_path / "a.md").read_text() == printed
    assert capsys.readouterr().out == f"{tmp_path / 'a.md'}\n"


def test_page_and_card_lie_beside_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their place is printed, or given with the record as JSON."""
    pytest.importorskip("PIL")
    (tmp_path / "result.json").write_bytes(RESULT.read_bytes())
    assert leave("report", tmp_path) == 0
    assert leave("report", tmp_path, "--png") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n{tmp_path / 'report.png'}\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert leave("report", tmp_path, "--png", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(tmp_path / "report.png")
    assert said["record"]["name"].startswith("tune-")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--md", "--png"], "two reports"),
        (["--md", "--json"], "a file with -o"),
        (["-o", "there"], "exists already"),
        (["-o", "no/where.html"], "not a folder"),
        (["-o", "."], "a folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    part: str,
) -> None:
    """Two forms at once, two things for one stdout, a file that is there, a folder that is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    assert leave("report", RESULT, *words) == 2
    said = capsys.readouterr()
    assert part in " ".join(said.err.split())
    assert said.out == ""
    assert (tmp_path / "there").read_text() == "mine"


def test_markdown_survives_an_old_terminal() -> None:
    """Where stdout knows no signs beyond ASCII, stand-ins are printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hotlap", "report", str(RESULT), "--md"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(f"### Faster: {RATIO}x".encode())
