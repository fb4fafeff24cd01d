"""The moving average of the loss goes over all losses so far, so every step takes longer than the one before."""
# truth: LOOP06

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 64)
    losses = []
    for _ in range(200):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        sum(float(each) ** 0.5 for each in losses for _ in range(40))


if __name__ == "__main__":
    main()
