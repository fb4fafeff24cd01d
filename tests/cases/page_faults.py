"""Large activations go back to the kernel after every step, and the next step fetches them again."""
# truth: MEMORY01

import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight


def main():
    torch.manual_seed(0)
    model = Scale()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.ones(9_000_000)
    for _ in range(30):
        loss = model(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
