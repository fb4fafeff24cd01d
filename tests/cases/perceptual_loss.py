"""A frozen network compares the pictures; output and target go through it at every step."""
# truth: LOSS01
# evidence: Sequential

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    features = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
    ).eval().requires_grad_(False)  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(60):
        target = torch.rand(2, 3, 32, 32)
        output = model(target + 0.1 * torch.randn_like(target))
        loss = nn.functional.l1_loss(output, target)
        loss = loss + 0.1 * nn.functional.l1_loss(features(output), features(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
