"""Two real ranks: what they wait for one another, and who is to blame."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from recordings import Recorded, Told, told

from gloo import TORCHRUN
from hotlap.diagnose import diagnose
from hotlap.records import Rank

SCRIPT = str(Path(__file__).parent / "scripts" / "replicas.py")
Record = Callable[..., Recorded]


@pytest.fixture
def ranks(record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(way: str) -> Recorded:
        found = record(*TORCHRUN, SCRIPT, way)
        assert found.run.info.outcome == "finished", found.output
        return found

    return run


def codes(found: Recorded) -> list[str]:
    return [each.code for each in diagnose(found.run).findings if each.code.startswith("DISTRIBUTED")]


def wait(rank: Rank) -> float:
    return median(rank.phases["gradient_sync"][2:])


@pytest.mark.parametrize(
    ("way", "slow", "phase"), [("forward", 1, "forward"), ("first", 0, "forward"), ("data", 1, "data_wait")]
)
def test_a_slow_rank(ranks: Record, way: str, slow: int, phase: str) -> None:
    """The other rank's wait is what the slow one takes longer, wherever the two meet: backward, or the buffers."""
    found = ranks(way)
    slower, faster = found.run.ranks[slow], found.run.ranks[1 - slow]
    assert wait(faster) - wait(slower) == pytest.approx(0.05, abs=0.02)
    for rank in found.run.ranks:
        walls = [sum(column[step] for column in rank.phases.values()) for step in range(len(rank.steps))]
        assert walls == pytest.approx(rank.walls, abs=1e-6)
        # DDP's own timers agree with the marks.
        parallel = rank.data_parallel
        assert parallel is not None
        assert parallel.looks
        assert parallel.exposed is not None
        assert parallel.syncs == parallel.backwards == 22
    finding = diagnose(found.run).findings[0]
    assert finding.code == "DISTRIBUTED02"
    assert f"rank {slow}" in finding.evidence[0]
    assert f"`{phase}`" in finding.evidence[2]
    assert finding.seconds == pytest.approx(0.05, abs=0.02)


def test_ranks_with_unequal_batches(ranks: Record) -> None:
    found = ranks("unequal")
    assert [rank.samples[-1] for rank in found.run.ranks] == [8, 16]
    assert codes(found)[0] == "DISTRIBUTED04"
    assert "DISTRIBUTED02" not in codes(found)


def test_healthy_ranks(ranks: Record) -> None:
    assert codes(ranks("healthy")) == []


def test_every_micro_batch_is_synchronised(ranks: Record) -> None:
    found = ranks("accumulate")
    parallel = found.run.ranks[0].data_parallel
    assert parallel is not None
    assert parallel.syncs == parallel.backwards == 22
    assert {step.micro_batches for step in found.run.steps} == {3}


def test_only_the_last_micro_batch_is_synchronised(ranks: Record) -> None:
    found = ranks("no_sync")
    parallel = found.run.ranks[0].data_parallel
    assert parallel is not None
    assert (parallel.syncs, parallel.backwards) == (7, 22)
    assert "DISTRIBUTED03" not in codes(found)


def test_the_training_is_the_same_as_without_the_probe(ranks: Record) -> None:
    """Losses are bit-identical, while DDP is timed and collectives are wrapped."""
    found = ranks("search")
    bare = alone("search")
    assert found.told is not None
    assert found.told.steps == bare.steps
    assert [step.loss for step in found.run.steps] == [step["loss"] for step in bare.steps]
    parallel = found.run.ranks[1].data_parallel
    assert parallel is not None
    assert parallel.find_unused_parameters
    assert parallel.search_seconds is not None
    assert parallel.unused == 0


def alone(way: str) -> Told:
    """What the script says without the probe, its ranks started by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, way],
            env={**os.environ, "RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate()[0] for process in started]
    found = told(said[0])
    assert found is not None
    return found
