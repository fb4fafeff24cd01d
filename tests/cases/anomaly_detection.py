"""Anomaly detection was switched on to find a NaN, and stayed on."""
# truth: CONFIG01

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    torch.autograd.set_detect_anomaly(True)
    layers = []
    for _ in range(20):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 64)
    for _ in range(60):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
