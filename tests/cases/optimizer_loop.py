"""Adam updates two hundred small tensors one by one."""
# truth: OPTIMIZER01
# evidence: a loop over tensors

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(60)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=False)
    x = torch.randn(16, 32)
    for _ in range(100):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
