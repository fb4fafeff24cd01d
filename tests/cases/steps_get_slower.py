"""The model keeps every batch that it has seen in a memory which it attends to, so each step takes longer."""
# truth: LOOP06

import torch
from torch import nn


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
        self.memory = torch.zeros(1, 64)

    def forward(self, x):
        hidden = self.inside(x)
        with torch.no_grad():
            recalled = (hidden @ self.memory.T).softmax(1) @ self.memory
            self.memory = torch.cat([self.memory, hidden])
        return hidden + 0.1 * recalled


def main():
    torch.manual_seed(0)
    model = Remembering()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(64, 64)
    for _ in range(150):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
