"""Gradients of hundreds of small tensors are clipped without the implementation that takes them together."""
# truth: CLIP01

import torch
from torch import nn


class Biases(nn.Module):
    """Many small parameters that hardly any arithmetic belongs to."""

    def __init__(self):
        super().__init__()
        self.values = nn.ParameterList([nn.Parameter(torch.randn(16)) for _ in range(300)])

    def forward(self, x):
        return x + torch.cat(list(self.values)).view(-1, 16).sum(0)


def main():
    torch.manual_seed(0)
    model = Biases()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    x = torch.randn(16, 16)
    for _ in range(100):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False)
        optimizer.step()


if __name__ == "__main__":
    main()
