"""``hotlap read`` as a user meets it: what it prints, its JSON, and its refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hotlap.cli import main

TRAIN = "step 950/8880 | loss=0.0312 lr=9.80e-06 | GPU0_mem=1.3GB | 0.5 samples/s | data_time=0.1ms\n"
TIMING = """\
前向传播总耗时    : 1805.28ms (50.0%)
VRT处理          : 1799.99ms (49.9%)
Spike模块        : 5.26ms (0.1%)
Total           : 3610.53ms
"""


def hotlap(*words: str | Path) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["read", *map(str, words)])
    return left.value.code


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    for name, text in (("train.log", TRAIN), ("timing.log", TIMING)):
        (tmp_path / name).write_text(text)
    return [tmp_path / "train.log", tmp_path / "timing.log"]


def test_the_documents_log(logs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads the main things in the first lines, and each figure's origin below."""
    assert hotlap(*logs, "--batch-size", "1", "--ranks", "3") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(
        "A step takes 6.00 s (5.45 s to 6.67 s by the digits printed), of which the timing log sees"
    )
    for words in (
        "1.81 s.",
        "throughput 0.500 samples/s printed",
        "batch size 1 given",
        "process memory missing",
        "counts 1805.25 ms twice",
        "does not rule data loading out",
        "hotlap profile --data",
        "Pinned memory or non-blocking copies: at most 1.00x",
    ):
        assert words in shown, words


def test_json(logs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The whole reading and what follows from it."""
    assert hotlap(*logs, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["reading"]["step_seconds"]["origin"] == "missing"
    assert record["reading"]["timing"]["seen"] == pytest.approx(1.80528)
    assert {finding["code"] for finding in record["diagnosis"]["findings"]} == {"LOG11", "LOG13", "LOG14"}


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads what is piped in."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(TRAIN.encode())))
    assert hotlap("-") == 0
    assert "standard input: 1 line, VRT-Spike (1)" in capsys.readouterr().out


def test_refusals(tmp_path: Path, logs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Each in a sentence, with exit code 2."""
    trace = tmp_path / "trace.json"
    trace.write_text('{"schemaVersion": 1, "traceEvents": []}')
    other = tmp_path / "other.log"
    other.write_text("hello\n")
    for words, said in (
        ([], "there is no file"),
        ([tmp_path / "absent"], "No such file"),
        ([other], "no line of it"),
        ([trace, logs[0]], "a trace beside logs"),
        ([trace, "--ranks", "2"], "are for logs"),
        ([*logs[:2], "--compare"], "takes two traces"),
        ([logs[0], "--batch-size", "0"], "at least 1"),
        ([logs[0], "--bogus"], "no such option"),
    ):
        assert hotlap(*words) == 2
        assert said in capsys.readouterr().err
