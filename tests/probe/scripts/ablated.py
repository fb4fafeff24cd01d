"""Trains a little with one thing taken away and looks whether it is; a fork for each, so that torch loads once."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from hotlap.probe import Settings, hooks, levers

STEPS = 12


class Pictures(Dataset):
    def __init__(self, many):
        self.many, self.fetched = many, 0
        if many:
            self.__getitems__ = lambda indices: [self[i] for i in indices]

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.fetched += 1
        return {"x": torch.full((3,), 1.0 + index), "names": [str(index)]}


class Net(nn.Module):
    def __init__(self, trained):
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 3), 0
        self.requires_grad_(trained)

    def forward(self, x):
        self.calls += 1
        return {"y": self.layer(x), "n": 3}


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = Net(trained=False).eval()

    def forward(self, a, b):
        with torch.no_grad():
            wanted = self.network(b)["y"]
        return (self.network(a)["y"] - wanted).square().mean()


def train(name, many=False):
    folder = Path(tempfile.mkdtemp())
    recorder = hooks.install(torch, Settings({"run_dir": str(folder), "without": name}), time.perf_counter())
    torch.manual_seed(0)
    data, held_out = Pictures(many), Pictures(False)
    model, loss, teacher = Net(trained=True), Loss(), Net(trained=False).eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    seen = {"weights": [], "batches": [], "epochs": [], "norms": [], "gradients": [], "losses": []}
    seen.update(data=data, held_out=held_out, model=model, loss=loss, teacher=teacher, folder=folder)
    for epoch in range(STEPS // 4):
        count = 0
        for batch in DataLoader(data, batch_size=5):
            x = batch.pop("x")
            seen["batches"].append(x.tolist())
            x.mul_(0.5)
            with torch.no_grad():
                teacher(x)
            value = loss(model(x)["y"], x)
            optimizer.zero_grad()
            torch.autograd.backward(value)  # no line of torch between this one and the probe
            seen["gradients"].append(model.layer.weight.grad.abs().sum().item())
            seen["norms"].append(nn.utils.clip_grad_norm_(model.parameters(), 1e-3).item())
            optimizer.step()
            seen["losses"].append(value.item())
            seen["weights"].append(model.layer.weight.detach().clone())
            count += 1
        seen["epochs"].append(count)
        model.eval()
        with torch.no_grad():
            for batch in DataLoader(held_out, batch_size=5):
                model(batch["x"])
        model.train()
        with open(folder / "log.json", "w") as file:
            json.dump({"epoch": epoch}, file)
        with open(folder / "printed", "a") as file:
            print(f"epoch {epoch}", file=file)
        logging.getLogger("script").warning("epoch")
        torch.save(model.state_dict(), folder / f"{epoch}.pt")
    assert seen["epochs"] == [4] * (STEPS // 4), seen["epochs"]
    assert (f"taken away: {name}" in levers.notes) == (name is not None)
    recorder.finish()
    return seen


def nothing(seen):
    assert seen["data"].fetched == 60
    assert seen["held_out"].fetched == 60
    assert len(set(map(str, seen["batches"]))) == 4
    assert len({tuple(w.flatten().tolist()) for w in seen["weights"]}) == STEPS
    assert seen["loss"].network.calls == 2 * STEPS
    assert min(seen["gradients"]) > 0


def data(seen):
    assert seen["data"].fetched == 20
    assert all(batch == seen["batches"][3] for batch in seen["batches"][3:])


def samples(seen):
    assert seen["data"].fetched <= 25, seen["data"].fetched
    assert len(seen["batches"][-1]) == 5


def optimizer(seen):
    assert not torch.equal(seen["weights"][2], seen["weights"][3])
    assert all(torch.equal(w, seen["weights"][3]) for w in seen["weights"][4:])


def clipping(seen):
    assert len(set(seen["norms"][4:])) == 1


def frozen_networks(seen):
    assert seen["loss"].network.calls == 2 * 4 + 2
    assert seen["gradients"][4] > 0
    assert set(seen["gradients"][6:]) == {0.0}
    assert seen["model"].calls > STEPS


def logs(seen):
    assert (seen["folder"] / "printed").read_text() == ""
    assert (seen["folder"] / "log.json").read_text() == ""


def saving(seen):
    assert (seen["folder"] / f"{STEPS // 4 - 1}.pt").stat().st_size == 0


def validation(seen):
    assert (seen["held_out"].fetched, seen["data"].fetched) == (5, 60)
    assert seen["model"].calls == STEPS + 1
    assert seen["teacher"].calls == STEPS


def syncs(seen):
    assert len(set(seen["losses"][4:])) == 1
    lines = [json.loads(line) for line in (seen["folder"] / "steps.jsonl").read_text().splitlines()]
    recorded = [loss for line in lines if line["k"] == "steps" for loss in line["losses"]]
    assert len(set(recorded)) > 8, recorded  # what the probe reads for itself is the truth


CASES = {
    None: nothing,
    "data": data,
    "samples": samples,
    "optimizer": optimizer,
    "clipping": clipping,
    "frozen networks": frozen_networks,
    "logging": logs,
    "saving": saving,
    "validation": validation,
    "syncs": syncs,
}


def main():
    failed = []
    torch.optim.SGD([nn.Parameter(torch.zeros(1))]).step()  # loads what a first step loads
    for name, check in CASES.items():
        for many in (False, True) if name == "samples" else (False,):
            sys.stdout.flush()
            child = os.fork()
            if not child:
                code = 1
                try:
                    check(train(name, many))
                    code = 0
                except BaseException:
                    traceback.print_exc()
                os._exit(code)
            if os.waitpid(child, 0)[1]:
                failed.append(name)
    sys.exit(f"failed: {failed}" if failed else 0)


main()
