"""Makes cycles of objects in every step, by the argument's count."""

import sys

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader


class Link:
    pass


alive = [Link() for _ in range(int(sys.argv[1]) * 20)]
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()
told.begin()
for _ in range(4):
    for x, y in DataLoader(samples(400), batch_size=8):
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        for _ in range(int(sys.argv[1])):
            link = Link()
            link.itself = link
        told.step([loss], 8)
told.end()
