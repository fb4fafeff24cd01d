"""One batch over and over, two micro-batches a step, after a validation without a loader."""

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()
with torch.no_grad():
    for _ in range(3):
        model(torch.zeros(2, 16))
told.begin()
x, y = next(iter(DataLoader(samples(8), batch_size=8)))
for number in range(20):
    losses = []
    for half in (slice(0, 4), slice(4, 8)):
        losses.append((model(x[half]) - y[half]).square().mean())
        losses[-1].backward()
    optimizer.step()
    optimizer.zero_grad()
    # The first step's batch came from a loader, whole.
    told.step(losses, 8, 2 if number else 1)
told.end()
