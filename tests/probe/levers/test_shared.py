"""Samples that all workers share, and batches in memory that is used again, are those of the ordinary way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recordings import Pull

_TRAINS = """
class Decoded(Dataset):
    def __init__(self, length=24, size=5000): self.length, self.size, self.classes = length, size, ["cat"]
    def __len__(self): return self.length
    def __getitem__(self, i):
        with open("fetched", "a") as file: file.write(f"{i}\\n")
        return torch.full((self.size,), float(i)), f"{i}.png"
def train(data, epochs=3, batch_size=4, workers=2, **options):
    torch.manual_seed(2)
    loader = DataLoader(data, batch_size=batch_size, num_workers=workers, **{"shuffle": True, **options})
    assert loader.dataset is data and type(loader) is DataLoader
    model, found = None, []
    for _ in range(epochs):
        for x, *others in loader:
            model = model or nn.Linear(x.shape[1], 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
            found.append([x[:, :3].tolist(), others])
            model(x).mean().backward(); optimizer.step(); optimizer.zero_grad()
    return found
"""

_ONCE = """
from torch.utils.data import Subset
def reversed_batch(samples):
    samples[0][0].zero_()
    return torch.stack([x for x, _ in samples[::-1]]), [name for _, name in samples]
if __name__ == "__main__":
    seen["batches"] = train(Decoded()); seen["count"] = len(open("fetched").readlines())
    os.remove("fetched")
    seen["own"] = train(Subset(Decoded(30), list(range(29, 5, -1))), collate_fn=reversed_batch, persistent_workers=True)
    seen["own count"] = len(open("fetched").readlines())
    os.remove("fetched")
"""


def test_each_sample_is_fetched_once_by_all_workers(pull: Pull) -> None:
    """In three epochs, with workers of each epoch and with those that stay; a batch may be written to."""
    ordinary, run = pull(_TRAINS + _ONCE, {}, name="ordinary")
    assert ordinary["count"] == ordinary["own count"] == 3 * 24
    seen, with_lever = pull(_TRAINS + _ONCE, {"shared_samples": 1 << 24})
    assert with_lever.notes == []
    # Each worker fetches two twice, and one again in each epoch.
    assert seen["count"] == seen["own count"] == 24 + 2 * 2 + 3 * 2
    assert (seen["batches"], seen["own"]) == (ordinary["batches"], ordinary["own"])
    losses = [step.loss for step in run.steps]
    assert losses == [step.loss for step in with_lever.steps]
    assert None not in losses
    assert not [name for name in os.listdir("/dev/shm") if "hotlap" in name]


_SPAWNED = """
if __name__ == "__main__":
    seen["batches"] = train(Decoded(8), 2, workers=1, multiprocessing_context="spawn", persistent_workers=True)
    seen["count"] = len(open("fetched").readlines())
"""


def test_spawned_workers_share_them_too(pull: Pull) -> None:
    seen, run = pull(_TRAINS + _SPAWNED, {"shared_samples": 1 << 24, "shared_batches": True})
    assert run.notes == []
    assert sorted(value[0] for x, _ in seen["batches"] for value in x) == sorted([*map(float, range(8))] * 2)
    assert seen["count"] == 8 + 2 + 2


_REFUSED = """
class Augmented(Decoded):
    def __getitem__(self, i): return torch.rand(5) + i, i
class OwnNumbers(Decoded):
    def __init__(self): super().__init__(12); self.generator = torch.Generator()
class Curriculum(Decoded):
    epoch = 0
    def __getitem__(self, i): return torch.full((5,), float(i * (1 + self.epoch))), i
class Sets(Decoded):
    def __getitem__(self, i): return torch.full((5,), float(i)), {i}
class Endless(Dataset):
    def __getitem__(self, i): return torch.full((5,), float(i)), i
class Named(Decoded):
    def __getitem__(self, name): return torch.full((5,), float(len(name))), name
def pairs(samples): return torch.stack([x for x, _ in samples]), [list(other) for _, other in samples]
if __name__ == "__main__":
    options = {"batch_size": 2, "workers": 1, "epochs": 4}
    seen["random"] = train(Augmented(12), **options)
    seen["own"] = train(OwnNumbers(), **options)
    curriculum = Curriculum(12)
    seen["first"] = train(curriculum, **{**options, "epochs": 1})
    curriculum.epoch = 1
    seen["second"] = train(curriculum, **options)
    seen["sets"] = train(Sets(12), collate_fn=pairs, **options)
    seen["endless"] = train(Endless(), shuffle=False, sampler=range(12), **options)
    seen["named"] = train(Named(12), shuffle=False, sampler=["a" * i for i in range(12)], **options)
    for kept in seen.values():
        for batch in kept: batch[1] = [each.tolist() if hasattr(each, "tolist") else each for each in batch[1]]
"""


def test_what_cannot_be_shared_is_told(pull: Pull) -> None:
    """Whatever a worker or the training finds against it is a note, and batches are as without."""
    ordinary, _ = pull(_TRAINS + _REFUSED, {}, name="ordinary")
    seen, run = pull(_TRAINS + _REFUSED, {"shared_samples": 1 << 24})
    assert seen == ordinary
    assert run.notes == [
        f"shared_samples was not applied: {why}"
        for why in (
            "fetching a sample draws random numbers, or gives another one each time",
            "the dataset has a random generator of its own",
            "a sample is another one in a later epoch, or in another rank",
            "a sample holds something besides tensors, arrays, texts, numbers and bytes",
            "the dataset does not say how many samples it has",
            "its sampler gives other things than numbers",
        )
    ]


def test_one_epoch_shows_nothing(pull: Pull) -> None:
    """Where fetching all samples ahead is not allowed: the script waits no longer than so for a batch."""
    script = "if __name__ == '__main__': train(Decoded(8), 1, timeout=60)"
    _, run = pull(_TRAINS + script, {"shared_samples": 1 << 24})
    (note,) = run.notes
    assert note.endswith("no worker was asked for a sample of a map-style dataset a second time")


_SLOTS = """
def slots():
    lines = [line.split()[0].split("-") for line in open("/proc/self/maps") if "memfd:hotlap-ring" in line]
    return [(int(begin, 16), int(end, 16)) for begin, end in lines]
class Places(Decoded):
    pass
if __name__ == "__main__":
    torch.manual_seed(2)
    loader = DataLoader(Decoded(48), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True)
    model = nn.Linear(5000, 1); optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    places, seen["batches"] = [], []
    for epoch in range(3):
        for x, names in loader:
            places.append(x.data_ptr()); seen["batches"].append([x[:, :3].tolist(), names])
            model(x).mean().backward(); optimizer.step(); optimizer.zero_grad()
            del x
    inside = [place for place in places if any(begin <= place < end for begin, end in slots())]
    seen["rings"], seen["inside"], seen["places"] = len(slots()), len(inside), len(set(inside))
"""


def test_batches_come_in_memory_that_is_used_again(pull: Pull) -> None:
    """Beside a loader that puts them together itself, and is left alone."""
    ordinary, run = pull(_TRAINS + _SLOTS, {}, name="ordinary")
    assert ordinary["rings"] == 0
    seen, with_lever = pull(_TRAINS + _SLOTS, {"shared_batches": True})
    assert with_lever.notes == []
    assert seen["batches"] == ordinary["batches"]
    # The first batch of each worker is torch's own; each has six slots.
    assert (seen["rings"], seen["inside"]) == (2, 3 * 12 - 2)
    assert seen["places"] <= 2 * 6
    assert [step.loss for step in run.steps] == [step.loss for step in with_lever.steps]
    assert not [name for name in os.listdir("/dev/shm") if "hotlap" in name]


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ("train(Decoded(8), collate_fn=own)", "batches are put together by a function of the script's own"),
        ("train(Decoded(8, 5), 1)", "no batch of 64 KiB or more came from workers"),
    ],
    ids=["own collate function", "small batches"],
)
def test_batches_that_come_as_they_did(pull: Pull, train: str, why: str) -> None:
    script = "def own(samples): return [torch.stack([x for x, _ in samples])]\nif __name__ == '__main__': " + train
    _, run = pull(_TRAINS + script, {"shared_batches": True})
    assert run.notes == [f"shared_batches was not applied: {why}"]


_RANK = """
import json, os, sys
import hotlap
hotlap.apply(shared_samples=1 << 24, shared_batches=True)
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
class Decoded(Dataset):
    def __len__(self): return 40
    def __getitem__(self, i):
        with open("fetched", "a") as file: file.write(f"{i}\\n")
        return torch.full((20000,), float(i + %s))
if __name__ == "__main__":
    loader = DataLoader(Decoded(), batch_size=4, num_workers=1, persistent_workers=True)
    model = nn.Linear(20000, 1); optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    found = []
    for epoch in range(3):
        for x in loader:
            found += x[:, 0].tolist(); model(x).mean().backward(); optimizer.step()
    print(json.dumps(found), flush=True)
    sys.stdin.read()
"""


def ranks(folder: Path, offset: str) -> list[list[float]]:
    """What two of them were given."""
    (folder / "rank.py").write_text(_RANK % offset)
    known = os.environ | {"LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "rank.py"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=known | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    found = []
    for rank in started:
        assert rank.stdout is not None
        found.append(json.loads(rank.stdout.readline()))
    for rank in started:
        rank.communicate("")
        assert rank.returncode == 0
    return found


def test_ranks_share_them(tmp_path: Path) -> None:
    """A script that pulls the lever itself; whichever rank comes first fetches a sample for both."""
    for found in ranks(tmp_path, "0"):
        assert found == [*map(float, range(40))] * 3
    fetched = [int(line) for line in (tmp_path / "fetched").read_text().splitlines()]
    assert set(fetched) == set(range(40))
    # Alone each would fetch all. Each fetches some again, to compare them.
    assert len(fetched) < 2 * 40


def test_ranks_with_other_samples_keep_to_their_own(tmp_path: Path) -> None:
    """Shards of the ranks, of one length and each numbered from nought."""
    first, second = ranks(tmp_path, "100 * int(os.environ['LOCAL_RANK'])")
    assert first == [*map(float, range(40))] * 3
    assert second == [*map(float, range(100, 140))] * 3
