"""Gradients are clipped one tensor at a time, in a loop over a hundred of them."""
# truth: CLIP01
# evidence: calls

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(50)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    x = torch.randn(16, 32)
    for _ in range(100):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()


if __name__ == "__main__":
    main()
