"""``hotlap read`` of traces, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotlap.cli import main

ONE = {"ph": "X", "pid": 1, "tid": 1}


def write(path: Path, seconds: float = 1.0) -> Path:
    """A trace of one step: half of it in the loader, half in an operator."""
    half = seconds * 5e5
    events = [
        ONE | {"cat": "user_annotation", "name": "ProfilerStep#1", "ts": 0, "dur": 2 * half},
        ONE | {"cat": "user_annotation", "name": "enumerate(DataLoader)#_SingleProcess", "ts": 0, "dur": half},
        ONE | {"cat": "cpu_op", "name": "aten::mm", "ts": half, "dur": half},
    ]
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["read", *map(str, words)])
    printed = capsys.readouterr()
    return left.value.code or 0, printed.out, printed.err  # type: ignore[return-value]


def test_reading(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One trace, for people and as JSON."""
    path = write(tmp_path / "trace.json")
    code, out, _ = call(capsys, path)
    assert code == 0
    assert "DATA01" in out
    code, out, _ = call(capsys, path, "--json")
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == 1
    assert found["findings"][0]["seconds"] == pytest.approx(0.5)


def test_comparison(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Two traces side by side."""
    paths = write(tmp_path / "a.json"), write(tmp_path / "b.json", 2.0)
    code, out, _ = call(capsys, *paths, "--compare")
    assert code == 0
    assert "1.00 s in A and 2.00 s in B: 100.0 % longer" in out
    code, out, _ = call(capsys, *paths, "--compare", "--json")
    assert [each["name"] for each in json.loads(out)["operators"]] == [
        "enumerate(DataLoader)#_SingleProcess",
        "aten::mm",
    ]


def test_wrong_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One sentence each, on stderr, with exit code 2."""
    path = write(tmp_path / "trace.json")
    (tmp_path / "cut.json").write_bytes(path.read_bytes()[:-40])
    for words, said in (
        ((path, "--compare"), "--compare takes two traces, and there is one"),
        ((path, path), "does not say which rank it is"),
        ((tmp_path / "none.json",), "No such file"),
        ((tmp_path / "cut.json",), "ends in the middle of its events"),
    ):
        code, out, err = call(capsys, *words)
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1


def test_reads_what_torch_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A trace of this torch's own profiler, with and without marked steps."""
    script = """
import sys, torch
from torch.profiler import ProfilerActivity, profile, schedule
model, loader = torch.nn.Linear(8, 8), torch.utils.data.DataLoader(torch.randn(16, 8), batch_size=4)
optimizer = torch.optim.SGD(model.parameters())
for marked in (True, False):
    marks = {"schedule": schedule(wait=0, warmup=0, active=10)} if marked else {}
    with profile(activities=[ProfilerActivity.CPU], **marks) as profiler:
        for batch in loader:
            model(batch).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if marked:
                profiler.step()
    profiler.export_chrome_trace(sys.argv[1 + marked])
"""
    paths = [tmp_path / "plain.json.gz", tmp_path / "marked.json"]
    subprocess.run([sys.executable, "-c", script, *map(str, paths)], check=True, capture_output=True, timeout=120)
    for path, marks in zip(paths, ("optimizer", "ProfilerStep"), strict=True):
        code, out, _ = call(capsys, path, "--json")
        (found,) = json.loads(out)["ranks"]
        assert code == 0
        assert found["marks"] == marks
        assert len(found["steps"]) == 4
        assert found["device"] is None
        assert found["loader"] == "no workers"
        assert min(found["host"][part] for part in ("data_wait", "backward", "optimizer", "operators")) > 0
        assert any(each["name"] == "aten::addmm" for each in found["operators"])
