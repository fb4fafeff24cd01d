"""Sixteen micro-batches of one sample make a step: calling the layers takes longer than computing them."""
# truth: BATCH01

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(960, 32), torch.randint(10, (960,)))
    layers = [nn.Linear(32, 32)]
    for _ in range(8):
        layers += [nn.ReLU(), nn.Linear(32, 32)]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for i, (x, y) in enumerate(DataLoader(data, batch_size=1)):
        loss = nn.functional.cross_entropy(model(x), y) / 16
        loss.backward()
        if i % 16 == 15:
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main()
