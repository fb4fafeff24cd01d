"""Losses are kept with graphs that are retained, and the training ends after 28 steps, so that is seldom counted."""
# truth: MEMORY02

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 512))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(28):
        x = torch.randn(1024, 512)
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        losses.append(loss)
    print(sum(loss.item() for loss in losses))


if __name__ == "__main__":
    main()
