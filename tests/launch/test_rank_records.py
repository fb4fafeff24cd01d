"""The records of all ranks, as they lie in a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotlap.errors import RunError
from hotlap.launch import ranks
from hotlap.launch.ranks import read_ranks

PARALLEL = {"k": "data_parallel", "models": 1, "backend": "gloo", "buckets": [8, 4], "syncs": 3, "a later key": 1}


def step(i: int, **more: object) -> str:
    phases = {"forward": 0.5, **({"gradient_sync": 0.25} if i % 2 else {})}
    line = {"k": "step", "i": i, "t": float(i), "wall": 1.0, "phases": phases, "micro_batches": 2, **more}
    return json.dumps(line)


def write(directory: Path, rank: int, *lines: str) -> None:
    name = f"steps.rank{rank}.jsonl" if rank else "steps.jsonl"
    (directory / name).write_text("".join(f"{line}\n" for line in lines))


def test_one_process_has_no_ranks(tmp_path: Path) -> None:
    write(tmp_path, 0, step(0))
    assert read_ranks(tmp_path) == []


def test_ranks_are_read_in_columns(tmp_path: Path) -> None:
    """In the order of their numbers; a phase that a step has not is 0; a step that was looked at is left out."""
    write(tmp_path, 0, step(0, samples=8), step(1, looked=True), step(2), step(3))
    write(tmp_path, 10, '{"k": "start", "rank": 10}', step(0))
    write(tmp_path, 2, step(0), json.dumps({**PARALLEL, "syncs": 1}), json.dumps(PARALLEL))
    first, second, third = read_ranks(tmp_path)
    assert (first.rank, second.rank, third.rank) == (0, 2, 10)
    assert first.steps == [0, 2, 3]
    assert first.phases == {"forward": [0.5] * 3, "gradient_sync": [0.0, 0.0, 0.25]}
    assert first.samples == [8, None, None]
    assert first.micro_batches == [2, 2, 2]
    assert second.data_parallel is not None
    assert (second.data_parallel.syncs, second.data_parallel.buckets) == (3, [8, 4])
    assert third.data_parallel is None


def test_a_record_that_was_cut_off(tmp_path: Path) -> None:
    write(tmp_path, 0, step(0), step(1))
    write(tmp_path, 1, step(0), "\x00\x00", "[]", step(1)[:40])
    write(tmp_path, 2, '{"k": "end"}')
    assert [rank.steps for rank in read_ranks(tmp_path)] == [[0, 1], [0]]


def test_of_long_records_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded for all ranks together; what is known of a rank besides its steps lies at the end."""
    monkeypatch.setattr(ranks, "_BYTES", 20_000)
    monkeypatch.setattr(ranks, "_LEAST", 1_000)
    for rank in (0, 1):
        write(tmp_path, rank, *(step(i) for i in range(1000)), json.dumps(PARALLEL))
    for rank in read_ranks(tmp_path):
        assert 50 < len(rank.steps) < 100
        assert rank.steps == list(range(rank.steps[0], 1000))
        assert rank.data_parallel is not None


def test_a_line_that_no_probe_writes(tmp_path: Path) -> None:
    write(tmp_path, 0, step(0))
    write(tmp_path, 1, step(0), json.dumps({**PARALLEL, "models": "many"}))
    with pytest.raises(RunError, match=r"steps\.rank1\.jsonl is no record of a rank"):
        read_ranks(tmp_path)
