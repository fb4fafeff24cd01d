"""A curriculum: sequences grow from 16 to 128 steps, so time and memory grow by design and nothing is kept."""
# truth: none

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.GRU(32, 64, batch_first=True)
    head = nn.Linear(64, 32)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=1e-3)
    for step in range(160):
        x = torch.randn(32, 17 + step // 20 * 16, 32)
        loss = (head(model(x[:, :-1])[0]) - x[:, 1:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
