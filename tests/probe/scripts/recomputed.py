"""Activation checkpointing in both ways, its function imported by name before torch itself is."""

from torch.utils.checkpoint import checkpoint

import torch  # isort: skip
from told import Told, network

first, second, head = network(outputs=16), network(outputs=16, seed=1), network(seed=2)


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleList([first, second, head])

    def forward(self, x):
        x = checkpoint(first, x, use_reentrant=False)
        x = checkpoint(second, x, use_reentrant=True)
        return head(x)


model = Whole()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.randn(8, 16), torch.randn(8, 1)
told = Told()
told.begin()
for _ in range(30):
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], 8)
told.end()
