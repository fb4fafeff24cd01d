"""The loop prints an activation and a gradient for debugging, which formats tens of numbers at a time."""
# truth: LOOP03

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 64)
    for i in range(80):
        output = model(x)
        loss = (output - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("step", i, "output", output)
        print("gradient", model[0].weight.grad)


if __name__ == "__main__":
    main()
