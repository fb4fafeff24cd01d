"""Batches that are made by one indexing, or of samples that are kept, are those of the ordinary way."""

from __future__ import annotations

import pytest
from recordings import Pull

_TRAINS = """
from torch.utils.data import ConcatDataset, Subset, TensorDataset
torch.manual_seed(1)
x, y = torch.randn(24, 4), torch.randint(0, 2, (24, 1)).float()
calls = []
def train(data, epochs=2, **options):
    torch.manual_seed(2)
    model = network(); optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for epoch in range(epochs):
        for batch in DataLoader(data, batch_size=4, shuffle=True, **options):
            x, y = batch.values() if isinstance(batch, dict) else batch
            found.append([type(batch).__name__, x.tolist(), y.tolist(), str(x.dtype), str(y.dtype), x.is_contiguous()])
            loss = (model(x.float()) - y.float().view(len(x), -1)).pow(2).mean()
            loss.backward(); optimizer.step(); optimizer.zero_grad()
    return found, float(torch.rand(()))
"""

_IN_MEMORY = """
class Indexed(TensorDataset):
    pass
class Plain(Dataset):
    def __init__(self): self.images, self.labels = x.numpy(), y[:, 0].long()
    def __len__(self): return len(self.images)
    def __getitem__(self, index: int):
        '''One sample.'''
        image = self.images[index]
        return {"x": image, "y": self.labels[index]}
class Counted(TensorDataset):
    def __getitem__(self, i): calls.append(i); return super().__getitem__(i)
original = TensorDataset.__getitem__
def __getitem__(self, i): calls.append(i); return original(self, i)
TensorDataset.__getitem__ = __getitem__
whole = TensorDataset(x, y)
ways = {
    "tensors": lambda: whole,
    "subset": lambda: Subset(whole, [i * 5 % 24 for i in range(20)]),
    "parts": lambda: ConcatDataset([TensorDataset(x[:7], y[:7]), Subset(whole, range(9, 20)), TensorDataset(x, y)]),
    "arrays": Plain,
}
for way, make in ways.items():
    calls.clear(); seen[way] = train(make()); seen[way + " calls"] = len(calls)
"""


def test_one_indexing(pull: Pull) -> None:
    """Of tensors, arrays and what is made of them: the same batches, and no call for each sample."""
    ordinary, run = pull(_TRAINS + _IN_MEMORY, {}, name="ordinary")
    assert run.facts.dataset.indexed is True
    assert run.facts.dataset.length == 24
    seen, with_lever = pull(_TRAINS + _IN_MEMORY, {"batched_fetch": True})
    assert with_lever.notes == []
    for way in ("tensors", "subset", "parts", "arrays"):
        assert seen[way] == ordinary[way], way
        if way != "arrays":
            # Two batches of the first epoch, and one of the second, are made in both ways and compared.
            assert 0 < seen[f"{way} calls"] == 3 * 4 < ordinary[f"{way} calls"], way
    losses = [step.loss for step in run.steps]
    assert losses == [step.loss for step in with_lever.steps]
    assert None not in losses


_NOT_SIMPLE = """
class Transformed(Dataset):
    def __len__(self): return 24
    def __getitem__(self, i): return x[i] * 2, y[i]
class Lists(Dataset):
    def __init__(self): self.x, self.y = x.tolist(), y
    def __len__(self): return 24
    def __getitem__(self, i): return self.x[i], self.y[i]
class Other(TensorDataset):
    def __getitem__(self, i): return [each + 1 for each in super().__getitem__(i)]
def pad(samples): return torch.stack([a for a, b in samples]), torch.stack([b for a, b in samples])
seen["transformed"] = train(Transformed()); seen["other"] = train(Other(x, y))
seen["collated"] = train(TensorDataset(x, y), collate_fn=pad)
train(TensorDataset(x, y), num_workers=1, epochs=1)
class Lying(Dataset):
    def __init__(self): self.x, self.y = x, y
    def __len__(self): return 24
    def __getitem__(self, i): return self.x[i], self.y[i]
lying = Lying()
lying.__dict__["x"] = type("Twice", (), {"__getitem__": lambda self, i: x[i]})()
seen["lying"] = train(lying)
"""


def test_what_is_more_than_indexing_is_left_alone(pull: Pull) -> None:
    """With the reason of each."""
    ordinary, run = pull(_TRAINS + _NOT_SIMPLE, {}, name="ordinary")
    assert run.facts.dataset.indexed is False
    seen, with_lever = pull(_TRAINS + _NOT_SIMPLE, {"batched_fetch": True})
    assert seen == ordinary
    assert with_lever.notes == [
        "batched_fetch was not applied: Transformed.__getitem__ does more than indexing",
        "batched_fetch was not applied: Other.__getitem__ does more than indexing",
        "batched_fetch was not applied: the script collates its batches itself",
        "batched_fetch was not applied: it keeps samples in a Twice",
    ]


_DECODED = """
class Decoded(Dataset):
    def __len__(self): return 24
    def __getitem__(self, i): calls.append(i); return x[i] * 2, int(y[i])
def own(samples):
    a = torch.stack([a for a, b in samples]); b = torch.tensor([b for a, b in samples])
    samples[0][0].zero_()
    return a, b
decoded = Decoded()
seen["decoded"] = train(decoded); seen["calls"] = len(calls)
calls.clear()
mine = Decoded()
seen["own"] = train(mine, collate_fn=own if %r else None)
seen["own calls"] = len(calls)
"""


@pytest.mark.parametrize(
    "lever", [{"cache_samples": 1 << 20}, {"whole_set": "cpu"}], ids=lambda value: next(iter(value))
)
def test_samples_are_fetched_once(pull: Pull, lever: dict[str, object]) -> None:
    """All with the first batch where that is quick; in each epoch one again, to see that it is the same."""
    own = "cache_samples" in lever
    ordinary, run = pull(_TRAINS + _DECODED % own, {}, name="ordinary")
    assert (run.facts.dataset.alike, run.facts.dataset.sample_bytes) == (True, 24.0)
    assert ordinary["calls"] == 48
    seen, with_lever = pull(_TRAINS + _DECODED % own, lever)
    assert with_lever.notes == []
    # Four were fetched twice, and one again in each of the two epochs.
    assert seen["calls"] == seen["own calls"] == 24 + 4 + 2
    assert (seen["decoded"], seen["own"]) == (ordinary["decoded"], ordinary["own"])
    losses = [step.loss for step in run.steps]
    assert losses == [step.loss for step in with_lever.steps]
    assert None not in losses


_UNLIKE = """
import numpy as np
class Augmented(Dataset):
    def __len__(self): return 24
    def __getitem__(self, i): return x[i] + 0.1 * random.random(), y[i]
class OwnNumbers(Augmented):
    def __init__(self): self.transforms = [np.random.default_rng(0)]
    def __getitem__(self, i): return x[i] + self.transforms[0].random(), y[i]
class Curriculum(Augmented):
    epoch = 0
    def __getitem__(self, i): return x[i] * (1 + self.epoch), y[i]
class Buffer(Augmented):
    held = torch.zeros(4)
    def __getitem__(self, i): self.held.copy_(x[i]); return self.held, y[i]
class Seldom(Augmented):
    def __getitem__(self, i): return x[i] + (random.random() if i == 23 else 0), y[i]
random.seed(3)
for kind in (Augmented, OwnNumbers, Buffer, Seldom):
    seen[kind.__name__] = train(kind())
curriculum = Curriculum()
seen["first"] = train(curriculum, epochs=1); curriculum.epoch = 1; seen["second"] = train(curriculum, epochs=1)
"""


@pytest.mark.parametrize(
    "lever", [{"cache_samples": 1 << 20}, {"whole_set": "cpu"}], ids=lambda value: next(iter(value))
)
def test_nothing_random_is_frozen(pull: Pull, lever: dict[str, object]) -> None:
    """Augmentation, a generator of its own, another epoch's samples: told, and trained as without the lever."""
    ordinary, _ = pull(_TRAINS + _UNLIKE, {}, name="ordinary")
    seen, run = pull(_TRAINS + _UNLIKE, lever)
    assert seen == ordinary
    (name,) = lever
    assert run.notes == [
        f"{name} was not applied: fetching a sample draws random numbers",
        f"{name} was not applied: the dataset has a random generator of its own",
        f"{name} was not applied: its samples share their memory",
        f"{name} was not applied: a sample is another one in a later epoch",
    ]


_LARGE = """
class Large(Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): calls.append(i); return torch.full((250,), float(i)), torch.tensor([1.0])
loader = DataLoader(Large(), batch_size=2)
model = nn.Linear(250, 1)
for epoch in range(3):
    for x, y in loader: model(x).sum().backward()
seen["calls"] = len(calls)
"""


def test_a_bound_on_what_is_kept(pull: Pull) -> None:
    """Two samples of a thousand bytes fit into 2.5 kB; these are not fetched again."""
    seen, run = pull(_TRAINS + _LARGE, {"cache_samples": 2500})
    # Fetched ahead: all eight; then six in each epoch and what is compared.
    assert seen["calls"] == 8 + 4 + 3 * 6 - 2 + 2 + 2
    assert run.notes == []
