"""Samples that all workers share, and batches in memory that is used again, are those of the ordinary way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from recordings import Pull

_TRAINS = """
class Decoded(Dataset):
    def __init__(self, length=24, size=5000): self.length, self.size = length, size
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
            found.append([x[:, :3].tolist(), others, x.data_ptr()])
            model(x).mean().backward(); optimizer.step(); optimizer.zero_grad()
            del x, others
    return found
"""

_ONCE = """
from torch.utils.data import Subset
def reversed_batch(samples):
    samples[0][0].zero_()
    return torch.stack([x for x, _ in samples[::-1]]), [name for _, name in samples]
def once(name, data, **options):
    found = train(data, **options)
    with open("fetched") as file: seen[name + " fetched"] = len(file.readlines())
    expected = train(data, **{**options, "workers": 0, "persistent_workers": False, "multiprocessing_context": None})
    seen[name] = [batch[:2] for batch in found] == [batch[:2] for batch in expected]
    os.remove("fetched")
    return {place for _, _, place in found}
def slots():
    lines = [line.split()[0].split("-") for line in open("/proc/self/maps") if "memfd:hotlap-ring" in line]
    return [(int(begin, 16), int(end, 16)) for begin, end in lines]
if __name__ == "__main__":
    places = once("stay", Decoded(), shuffle=False, persistent_workers=True)
    seen["rings"] = len(slots())
    seen["places"] = [sum(begin <= place < end for place in places) for begin, end in slots()]
    part = Subset(Decoded(30), list(range(29, 5, -1)))
    once("own", part, collate_fn=reversed_batch)
    once("spawned", Decoded(8), shuffle=False, workers=1, multiprocessing_context="spawn", persistent_workers=True)
"""


def test_each_sample_is_fetched_once_by_all_workers(pull: Pull) -> None:
    """In three epochs, with workers that stay, those of each epoch, and spawned ones.

    The script meets its own loader and dataset, and may write to its batches. Batches of 64 KiB come in slots, of which
    each worker has six.
    """
    seen, run = pull(_TRAINS + _ONCE, {"shared_samples": 1 << 24, "shared_batches": True})
    assert run.notes == []
    assert seen["stay"]
    assert seen["own"]
    assert seen["spawned"]
    # Each worker fetches two twice at first, and one again in each epoch.
    assert seen["stay fetched"] == seen["own fetched"] == 24 + 2 * 2 + 3 * 2
    assert seen["spawned fetched"] == 8 + 2 + 3
    assert seen["rings"] == 2
    assert all(0 < count <= 6 for count in seen["places"])
    assert None not in [step.loss for step in run.steps]
    assert not [name for name in os.listdir("/dev/shm") if "hotlap" in name]


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
class Ready(Decoded):
    def __getitems__(self, numbers): return {"x": torch.full((len(numbers), 5), float(numbers[0])), "y": list(numbers)}
def ready(batch): return batch["x"], batch["y"]
def pairs(samples): return torch.stack([x for x, _ in samples]), [list(other) for _, other in samples]
def kept(data, **options):
    found = train(data, batch_size=2, workers=1, epochs=options.pop("epochs", 4), **options)
    return [[x, str(others)] for x, others, _ in found]
if __name__ == "__main__":
    stays = {"persistent_workers": True}
    seen["random"] = kept(Augmented(12), **stays)
    seen["own"] = kept(OwnNumbers(), **stays)
    curriculum = Curriculum(12)
    seen["first"] = kept(curriculum, epochs=1)
    curriculum.epoch = 1
    seen["second"] = kept(curriculum, **stays)
    seen["sets"] = kept(Sets(12), collate_fn=pairs, **stays)
    seen["ready"] = kept(Ready(12), collate_fn=ready, **stays)
    seen["endless"] = kept(Endless(), shuffle=False, sampler=range(12), **stays)
    seen["named"] = kept(Named(12), shuffle=False, sampler=["a" * i for i in range(12)], **stays)
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
            "a batch of kept samples could not be made",
            "the dataset does not say how many samples it has",
            "its sampler gives other things than numbers",
        )
    ]


_IN_VAIN = """
def own(samples): return [torch.stack([x for x, _ in samples])]
if __name__ == "__main__": train(Decoded(8), 1, collate_fn=own, timeout=60)
"""


def test_one_epoch_shows_nothing(pull: Pull) -> None:
    """Where the script waits for a batch no longer than so, and not all samples are fetched ahead."""
    _, run = pull(_TRAINS + _IN_VAIN, {"shared_samples": 1 << 24, "shared_batches": True})
    assert run.notes == [
        "shared_samples was not applied: no worker was asked for a sample of a map-style dataset a second time",
        "shared_batches was not applied: batches are put together by a function of the script's own",
    ]


_RANK = """
import json, os, sys
import hotlap
hotlap.apply(shared_samples=1 << 24, shared_batches=True)
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
torch.set_num_threads(1)
rank = int(os.environ["LOCAL_RANK"])
class Decoded(Dataset):
    first = 0
    def __len__(self): return 40
    def __getitem__(self, i):
        with open(f"fetched-{type(self).__name__}", "a") as file: file.write(f"{i}\\n")
        return torch.full((20000,), float(i + self.first))
class Shard(Decoded):
    first = 100 * rank
def train(data):
    loader = DataLoader(data, batch_size=4, num_workers=1, persistent_workers=True)
    model = nn.Linear(20000, 1); optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    found = []
    for epoch in range(3):
        for x in loader:
            found += x[:, 0].tolist(); model(x).mean().backward(); optimizer.step()
    return found
if __name__ == "__main__":
    # As long as a rank has them the other one finds their memory.
    same, shard = Decoded(), Shard()
    print(json.dumps([train(same), train(shard)]), flush=True)
    sys.stdin.read()
"""


def test_ranks_share_them(tmp_path: Path) -> None:
    """A script that pulls the levers itself: whichever rank comes first fetches a sample for both.

    Shards, of one length and each numbered from nought, are not taken for one another.
    """
    (tmp_path / "rank.py").write_text(_RANK)
    known = os.environ | {"LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "rank.py"],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=known | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    found = []
    for rank in ranks:
        assert rank.stdout is not None
        found.append(json.loads(rank.stdout.readline()))
    for rank in ranks:
        rank.communicate("")
        assert rank.returncode == 0
    for number, (same, shard) in enumerate(found):
        assert same == [*map(float, range(40))] * 3
        assert shard == [float(100 * number + i) for i in range(40)] * 3
    fetched = [int(line) for line in (tmp_path / "fetched-Decoded").read_text().splitlines()]
    assert set(fetched) == set(range(40))
    # Alone each would fetch all of them. Each fetches some again, to compare them.
    assert len(fetched) < 2 * 40
