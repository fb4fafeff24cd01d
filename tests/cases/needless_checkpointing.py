"""All blocks are recomputed in backward although the activations would fit many times over."""
# truth: CHECKPOINT01

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def main():
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)) for _ in range(4))
    optimizer = torch.optim.SGD(blocks.parameters(), lr=0.01)
    x = torch.randn(64, 256)
    for _ in range(60):
        hidden = x
        for block in blocks:
            hidden = hidden + checkpoint(block, hidden, use_reentrant=False)
        loss = (hidden - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
