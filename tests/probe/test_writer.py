"""The lines of a record."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from hotlap.launch.rundir import read_lines, steps_of
from hotlap.probe.writer import Writer


def close(writer: Writer) -> None:
    os.close(writer.descriptor)


@pytest.mark.parametrize("loss", [0.1, 1e-30, math.inf, -math.inf, math.nan, None])
def test_a_step_is_read_back(tmp_path: Path, loss: float | None) -> None:
    """Numbers survive, those that JSON does not know too."""
    writer = Writer(str(tmp_path / "steps.jsonl"))
    writer.line("plan", id=0, phases=["forward", "paused", "other"], slots=[0, 1, 2], micro_batches=2)
    writer.steps(3, 0, [12_250_000_000, 12_550_000_000, 12_675_000_000, 12_875_000_000], [8], [loss], [3])
    writer.flush()
    (step,) = steps_of(read_lines(tmp_path / "steps.jsonl"))
    assert (step.i, step.t, step.wall, step.paused, step.micro_batches, step.samples) == (3, 12.25, 0.5, 0.125, 2, 8)
    assert step.phases == {"forward": 0.3, "other": 0.2}
    assert step.looked
    assert step.loss == loss or (loss is not None and math.isnan(loss) and step.loss is not None)
    close(writer)


def test_only_whole_lines(tmp_path: Path) -> None:
    """Nothing is written before a flush, and then everything at once."""
    path = tmp_path / "steps.jsonl"
    writer = Writer(str(path))
    for number in range(1000):
        writer.line("metric", name="psnr", value=float(number), step=number)
    assert path.read_bytes() == b""
    writer.flush()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(1000))
    assert path.read_text().endswith("\n")
    close(writer)


def test_one_writer_for_a_file(tmp_path: Path) -> None:
    """A second process finds that the record is another one's."""
    first = Writer(str(tmp_path / "steps.jsonl"))
    with pytest.raises(FileExistsError):
        Writer(str(tmp_path / "steps.jsonl"))
    close(first)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_ends_the_recording(tmp_path: Path) -> None:
    """No error reaches the training, now or later, and nothing is kept that could never be written."""
    writer = Writer(str(tmp_path / "steps.jsonl"))
    close(writer)
    writer.descriptor = os.open("/dev/full", os.O_WRONLY)
    for _ in range(2):
        writer.steps(0, 0, [0, 10**9], [None], [None])
        writer.flush()
        assert writer.lines == []
    assert writer.failed
    close(writer)
