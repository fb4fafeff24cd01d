"""Torch shares its operators among eight times as many threads as there are cores."""
# truth: HOST04
# evidence: want a core at once

import os

import torch
from torch import nn


def main():
    torch.set_num_threads(8 * len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = torch.randn(256, 256), torch.randint(0, 10, (256,))
    for _ in range(120):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
