"""Two real ranks: settings of data parallel models, the gradients that are sent, and how often."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gloo import TORCHRUN, aborted
from hotlap.launch import Limits, Plan, Training
from hotlap.records import DataParallel, Environment, Run

_SCRIPT = """
import json, os, sys, torch, torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, seen = dist.get_rank(), {}
way = sys.argv[1]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 900), nn.ReLU(), nn.Linear(900, 1))
model = nn.parallel.DistributedDataParallel(model, find_unused_parameters=way == "search")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
reduced = []
original = dist.all_reduce
def all_reduce(tensor, *args, **kwargs): reduced.append(str(tensor.dtype)); return original(tensor, *args, **kwargs)
dist.all_reduce = all_reduce
# Eleven batches: the last step of an epoch has two micro-batches instead of three.
data = TensorDataset(torch.randn(44, 64, generator=torch.Generator().manual_seed(rank)))
every, norms, losses = (3 if way in ("accumulate", "surprise") else 1), [], []
def batches():
    if way == "surprise":
        numbers = torch.Generator().manual_seed(rank)
        for i in range(15): yield torch.randn(4, 64, generator=numbers), i in (7, 14)
        return
    for epoch in range(3):
        for i, (x,) in enumerate(DataLoader(data, batch_size=4)): yield x, i == 10
count = 0
for x, last in batches():
    loss = model(x).square().mean(); (loss / every).backward(); losses.append(float(loss.detach())); count += 1
    if count < every and not last: continue
    norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
    optimizer.step(); optimizer.zero_grad(); count = 0
weights = torch.cat([p.detach().flatten() for p in model.parameters()])
both = [torch.zeros_like(weights) for _ in range(2)]
dist.all_gather(both, weights)
seen.update(norms=norms, losses=losses, alike=bool(torch.equal(*both)), reduced=sorted(set(reduced)))
first = next(model.parameters())
if rank == 0: json.dump(seen, open("seen.json", "w"))
dist.barrier()
dist.destroy_process_group()
"""

Ranks = Callable[..., tuple[dict[str, Any], Run, DataParallel]]


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ranks:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "train.py").write_text(_SCRIPT)
    known = Environment(hotlap="0", python="3")

    def run(way: str, levers: dict[str, Any]) -> tuple[dict[str, Any], Run, DataParallel]:
        command = [sys.executable, *TORCHRUN, "train.py", way]
        plan = Plan(levers=levers)
        for _ in range(2):
            directory = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
            with Training(command, directory, plan, Limits(silence=90), known_environment=known) as training:
                training.wait()
            found = training.run()
            if not aborted(training.tail()):
                break
        assert found.info.outcome == "finished", training.tail()
        assert found.facts.data_parallel is not None
        return json.loads((tmp_path / "seen.json").read_text()), found, found.facts.data_parallel

    return run


def test_settings(ranks: Ranks) -> None:
    """All of them at once, on both ranks, with bit-identical losses; the hook is told by its name."""
    ordinary, _, before = ranks("search", {})
    assert before.find_unused_parameters
    assert not before.gradient_as_bucket_view
    levers = {"bucket_cap_mb": 1, "gradient_as_bucket_view": True, "static_graph": True, "unused_search": "off"}
    seen, run, after = ranks("search", levers)
    assert (after.find_unused_parameters, after.static_graph, after.gradient_as_bucket_view) == (False, True, True)
    assert max(after.buckets) < max(before.buckets)
    assert run.notes == []
    assert seen == ordinary
    assert run.facts.micro_batches == 1


def test_gradients_as_bfloat16(ranks: Ranks) -> None:
    """Both ranks get the same ones, near those of before."""
    ordinary, _, _ = ranks("plain", {})
    seen, run, parallel = ranks("plain", {"gradient_compression": "bfloat16", "no_sync": True})
    assert parallel.comm_hook == "hotlap_bfloat16"
    # Beside what the ranks agree on about their micro-batches.
    assert seen["reduced"] == ["torch.bfloat16", "torch.int64"]
    assert seen["alike"] is ordinary["alike"] is True
    assert seen["losses"] != ordinary["losses"]
    assert seen["losses"] == pytest.approx(ordinary["losses"], rel=0.02)
    assert run.notes == ["no_sync was not applied: a step has one micro-batch"]


@pytest.mark.parametrize("way", ["accumulate", "surprise"])
def test_synchronised_once_in_a_step(ranks: Ranks, way: str) -> None:
    """The third micro-batch, and the last of an epoch; a shorter step that nobody foresaw is averaged by hand."""
    ordinary, run, before = ranks(way, {})
    assert before.syncs == before.backwards == len(ordinary["losses"])
    assert run.facts.micro_batches == 3
    seen, run, after = ranks(way, {"no_sync": True})
    assert run.notes == []
    assert seen["alike"] is True
    assert seen["norms"] == pytest.approx(ordinary["norms"], rel=1e-4)
    assert seen["losses"] == pytest.approx(ordinary["losses"], rel=1e-4)
    # Six forwards until it is known; then 2 + 2 x 4 steps of three epochs, or one of the three that are left.
    assert after.syncs == 6 + (2 + 4 + 4 if way == "accumulate" else 2)
