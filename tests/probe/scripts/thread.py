"""The training runs in a thread of its own, while the main thread calls another model."""

import threading

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

told = Told()
other = network(seed=7)
with torch.no_grad():
    for x, _ in DataLoader(samples(8), batch_size=4):
        other(x)


def train():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    told.begin()
    for _ in range(4):
        for x, y in DataLoader(samples(24), batch_size=4):
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            told.step([loss], 4)
    told.end()


training = threading.Thread(target=train)
training.start()
while training.is_alive():
    other(torch.zeros(2, 16))
    training.join(0.001)
