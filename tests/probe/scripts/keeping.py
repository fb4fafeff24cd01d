"""A loop that keeps something: nothing, its losses, their sum, plain memory of every step, or a cache that fills."""

import sys

import torch
from told import Told, network

kind, count = sys.argv[1], int(sys.argv[2])
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
generator = torch.Generator().manual_seed(3)
told = Told()
kept: list[object] = []
total = 0.0


def train() -> None:
    global total
    for step in range(count):
        loss = model(torch.randn(8, 16, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.step([loss], 8)
        if kind == "losses":
            kept.append(loss)
        elif kind == "sum":
            total = total + loss
        elif kind == "plain" or (kind == "cache" and step < count // 2):
            kept.append(torch.ones(16_000))


told.begin()
train()
told.end()
