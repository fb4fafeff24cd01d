"""Levers for batches that are switched while the training runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Pull

from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment

_SCRIPT = """
import json, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
torch.manual_seed(0)
mask = torch.zeros(4000, 16); mask[:, :5] = 1
data, calls = TensorDataset(torch.randint(1, 9, (4000, 16)) * mask.long(), mask), []
original = TensorDataset.__getitem__
def __getitem__(self, i): calls.append(i); return original(self, i)
TensorDataset.__getitem__ = __getitem__
table = nn.Embedding(9, 1)
optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
seen = open("seen.jsonl", "w")
while True:
    for tokens, mask in DataLoader(data, batch_size=4):
        loss = (table(tokens)[..., 0] * mask).sum(1).square().mean()
        loss.backward(); optimizer.step(); optimizer.zero_grad()
        print(json.dumps([len(calls), tokens.shape[1]]), file=seen, flush=True)
        calls.clear()
"""


def test_on_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls for single samples and the length of sequences are, once off, what they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_SCRIPT)
    known, command = Environment(hotlap="0", python="3"), [sys.executable, "train.py"]
    with Training(command, tmp_path / "run", Plan(gated=True), Limits(silence=90), known_environment=known) as training:
        assert training.wait_for_gate(), training.tail()

        def last(settings: dict[str, Any]) -> list[int]:
            assert training.block(0.0, 5, settings) is not None, training.tail()
            assert training.snapshot().notes == []
            found: list[int] = json.loads((tmp_path / "seen.jsonl").read_text().splitlines()[-1])
            return found

        assert last({}) == [4, 16]
        for _ in range(2):
            assert last({"batched_fetch": True}) == [0, 16]
            assert last({"trim_padding": 8}) == [4, 8]
            assert last({"trim_padding": 2, "batched_fetch": True}) == [0, 6]
            assert last({}) == [4, 16]


_ORDER = """
class Slow(Data):
    def __getitem__(self, i):
        import time
        time.sleep(0.4 if i < 4 else 0)
        return super().__getitem__(i)
if __name__ == "__main__":
    model = network()
    seen["order"] = []
    for x, y in DataLoader(Slow(), batch_size=4, num_workers=2):
        seen["order"].append(x[:, 0].tolist()); model(x).sum().backward()
    DataLoader(Data(), num_workers=1)
"""


def test_batches_in_any_order(pull: Pull) -> None:
    """A batch that is ready does not wait for the one before it; every sample comes once."""
    seen, run = pull(_ORDER, {"any_order": True})
    assert sorted(value for batch in seen["order"] for value in batch) == list(range(12))
    assert seen["order"][0] != [0, 1, 2, 3]
    assert run.notes == []
    _, run = pull("DataLoader(Data()); network()(torch.ones(4)).sum().backward()", {"any_order": True}, name="alone")
    assert run.notes == ["any_order was not applied: the script made no DataLoader with several workers"]
