# ruff: noqa: B023 (each closure is called within its own turn of the loop)
"""Optimizers that are given a closure: LBFGS, and one step that holds everything, as some frameworks do it."""

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

told = Told()
model = network()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
told.begin()
for x, y in DataLoader(samples(40), batch_size=4):
    losses = []

    def closure():
        optimizer.zero_grad()
        losses.append((model(x) - y).square().mean())
        losses[-1].backward()
        return losses[-1]

    optimizer.step(closure)
    told.step(losses, len(x))

model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for x, y in DataLoader(samples(40), batch_size=4):

    def closure():
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss)
        return loss

    losses = []
    optimizer.step(closure)
    told.step(losses, len(x))
told.end()
