"""Four micro-batches of a reasonable size make a step."""
# truth: none

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(1024, 128), torch.randint(10, (1024,))
    for i in range(160):
        rows = slice(256 * (i % 4), 256 * (i % 4 + 1))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows]) / 4
        loss.backward()
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main()
