"""A running average of the weights is kept in a Python loop over hundreds of tensors, after every step."""
# truth: OTHER01

import copy

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(60)))
    average = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    x = torch.randn(16, 32)
    for _ in range(100):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            state = model.state_dict()
            for name, value in average.state_dict().items():
                value.mul_(0.999).add_(state[name], alpha=0.001)
                assert torch.isfinite(value).all()


if __name__ == "__main__":
    main()
