"""Sanity check, validation in every epoch, a checkpoint, printing; all loaders are made anew in every epoch."""

import tempfile

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()


@torch.no_grad()
def validate(most=None):
    model.eval()
    total = 0.0
    for number, (x, y) in enumerate(DataLoader(samples(64, seed=3), batch_size=2)):
        if number == most:
            break
        total += (model(x) - y).square().mean().item()
    model.train()
    return total


validate(most=2)
with tempfile.TemporaryFile() as file:
    told.begin()
    for epoch in range(5):
        loader = DataLoader(samples(20), batch_size=4)
        for x, y in loader:
            print("epoch", epoch)
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            told.step([loss], len(x))
            # What is left of a loss may be changed in place, e.g. reduced over ranks.
            loss.detach().mul_(2)
        if epoch < 4:
            # Of an exhausted loader once, of one that was left in the middle the other times.
            print(validate(most=None if epoch == 1 else 20))
            torch.save(model.state_dict(), file)
told.end()
