"""`hotlap estimate --data`, as a user types it."""

from __future__ import annotations

import json

import pytest

from hotlap.cli import main

GUIDE = [
    *("estimate", "--data", "--samples", "2222", "--sample", "720x1280x3,720x1280x3,32x720x1280"),
    *("--workers", "36", "--ranks", "3", "--cache", "50GiB", "--cache-each", "--memory", "512GiB"),
]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_the_example_of_the_guide_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """In words, and as JSON with every figure."""
    code, out, _ = run(GUIDE, capsys)
    assert code == 0
    assert out.startswith("The data side does not fit: 5.")
    assert "133.59 MiB" in out
    found = json.loads(run([*GUIDE, "--json"], capsys)[1])
    assert (found["sample_bytes"], found["processes"], found["verdict"]) == (140083200, 108, "does not fit")
    assert [remedy["kind"] for remedy in found["remedies"]] == ["one cache", "compact"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "add --data"),
        (["--data"], "--samples and --sample"),
        (["--data", "--samples", "0", "--sample", "3"], "--samples 0"),
        (["--data", "--samples", "9", "--sample", "3;4"], "is no shape"),
        (["--data", "--samples", "9", "--sample", "3", "--cache-each"], "--cache"),
        (["--data", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_missing_is_named(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["estimate", *words], capsys)
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1
