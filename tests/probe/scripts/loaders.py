"""Unusual ways to come by a batch: a new iterator each step, fetched ahead, several at once, skipped, streamed."""

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader, IterableDataset

teacher, model = network(seed=5).eval(), network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()


class Stream(IterableDataset):
    def __iter__(self):
        yield from samples(24)


def step(*batches):
    losses = []
    for x, y in batches:
        with torch.no_grad():
            wanted = teacher(x)
        losses.append((model(x) - y - wanted).square().mean())
        losses[-1].backward()
    return losses


def update(losses, count):
    optimizer.step()
    optimizer.zero_grad()
    told.step(losses, count, len(losses))


told.begin()
for x, y in DataLoader(Stream(), batch_size=4):
    update(step((x, y)), 4)
loader = DataLoader(samples(24), batch_size=4)
for _ in range(4):
    update(step(next(iter(loader))), 4)
several = iter(loader)
for _ in range(3):
    update(step(next(several), next(several)), 8)
for number, batch in enumerate(loader):
    if number >= 4:
        update(step(batch), 4)
# The first of the batches that are fetched ahead comes after a step, as all did until here.
ahead = iter(loader)
batch = next(ahead)
for _ in range(5):
    x, y = batch
    loss = (model(x) - y).square().mean()
    loss.backward()
    batch = next(ahead)
    update([loss], 4)
told.end()
