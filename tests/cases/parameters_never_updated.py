"""The optimizer was given copies of the parameters, so the model itself is never updated."""
# truth: NUMERICS02

import copy

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    optimizer = torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.01)
    x = torch.randn(128, 256)
    for _ in range(100):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
