"""Evaluation takes most of the time, and nobody told torch that it needs no gradients."""
# truth: LOOP01
# also: CONFIG04

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(64, 128), torch.randint(10, (64,))
    for i in range(100):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 5 == 4:
            model.eval()
            total = 0.0
            for _ in range(25):
                total += float(nn.functional.cross_entropy(model(torch.randn(64, 128)), y))
            model.train()
    print("validation loss", total / 25)


if __name__ == "__main__":
    main()
