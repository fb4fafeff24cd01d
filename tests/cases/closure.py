"""LBFGS evaluates the model several times in each step, through a closure."""
# truth: none

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4, history_size=4)
    x = torch.randn(512, 64)
    y = x.roll(1, 1)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(60):
        optimizer.step(closure)


if __name__ == "__main__":
    main()
