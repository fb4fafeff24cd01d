"""A training of two ranks, as torchrun starts it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from living import processes

from hotlap.launch import Plan, Training
from hotlap.launch.guardian import state
from hotlap.launch.rundir import read_lines

_TWO_RANKS = """
import sys, torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(int(sys.argv[1])):
    if step == 8 and len(sys.argv) > 2 and dist.get_rank() == 1:
        raise ValueError("rank one is lost")
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "ddp.py").write_text(_TWO_RANKS)
    return [*TORCHRUN, str(tmp_path / "ddp.py")]


def test_gated_ranks(start: Callable[..., Training], two_ranks: list[str], token: str) -> None:
    """Rank 0 waits at the gate, and with it the others; freezing stops every rank; nothing is left."""
    with start([*two_ranks, "100000"], Plan(gated=True)) as training:
        assert training.wait_for_gate()
        for _ in range(2):
            assert len(training.block(0.0, 5) or []) == 5
            training.freeze()
            states = [state(pid) for pid in processes(token) if pid != training._guardian.pid]
            assert len(states) >= 3
            assert set(states) == {"T"}
    run = training.run()
    assert run.info.outcome == "stopped"
    assert len(run.steps) == 13
    assert not processes(token)


@pytest.mark.parametrize("plan", [Plan(stop_steps=5), Plan(stop_seconds=0.2)])
def test_stopped_ranks(start: Callable[..., Training], two_ranks: list[str], plan: Plan) -> None:
    """Ended after so many steps or seconds, the training is stopped, though its ranks may not agree on the step."""
    with start([*two_ranks, "1000000"], plan) as training:
        training.wait()
    run = training.run()
    assert (run.info.outcome, run.info.reason) == ("stopped", None)
    assert run.steps
    assert plan.stop_steps is None or len(run.steps) == plan.stop_steps
    assert run.facts.world_size == 2
    assert any(line["k"] == "step" for line in read_lines(training.directory / "steps.rank1.jsonl"))


def test_crashed_rank(start: Callable[..., Training], two_ranks: list[str]) -> None:
    """The reason of a crash is the rank's own error, not what the launcher says about it."""
    with start([*two_ranks, "20", "fail"]) as training:
        training.wait()
    info = training.run().info
    assert info.outcome == "crashed"
    assert info.reason is not None
    assert "ValueError: rank one is lost" in info.reason


_ONE_LEAVES = """
import json, os, sys, time
run_dir = os.path.dirname(os.environ["HOTLAP_PROBE"])
with open(run_dir + "/steps.rank1.jsonl", "w") as file:
    file.write('{"k": "end", "outcome": "stopped"}\\n')
sys.exit("ConnectionError: rank 1 is gone") if sys.argv[1] == "crash" else time.sleep(1000)
"""


@pytest.mark.parametrize("way", ["crash", "hang"])
def test_the_first_to_leave(
    start: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """By the clock any rank may be the first to leave: the others then fail, or wait for it in vain."""
    monkeypatch.setattr("hotlap.launch.process._OTHER_RANKS", 0.1)
    (tmp_path / "rank0.py").write_text(_ONE_LEAVES)
    with start([sys.executable, str(tmp_path / "rank0.py"), way], Plan(stop_seconds=0.1)) as training:
        training.wait()
    assert (training.run().info.outcome, training.run().info.reason) == ("stopped", None)
