"""The loss is added to a running total with its graph, so no step's activations are ever freed."""
# truth: MEMORY02

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    total = 0
    outputs = []
    for _ in range(120):
        x = torch.randn(256, 512)
        output = model(x)
        loss = (output - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = total + loss
        outputs.append(output)
    print(total.item(), len(outputs))


if __name__ == "__main__":
    main()
