"""The loss compares all pairs of samples in a Python loop; the model itself is small."""
# truth: LOSS01

import torch
from torch import nn


def ranking_loss(scores, targets):
    loss = scores.new_zeros(())
    for i in range(len(scores)):
        loss = loss + (1 - (scores[i] - scores) * (targets[i] - targets).sign()).clamp(min=0).mean()
    return loss / len(scores)


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(100):
        x = torch.randn(48, 64)
        loss = ranking_loss(model(x).squeeze(1), x.sum(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
