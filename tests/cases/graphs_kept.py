"""The loss is added to a running total with its graph, which is retained, so activations are never freed."""
# truth: MEMORY02

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    total = 0
    for _ in range(100):
        x = torch.randn(256, 512)
        output = model(x)
        loss = (output - x).square().mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        total = total + loss
    print(total.item())


if __name__ == "__main__":
    main()
