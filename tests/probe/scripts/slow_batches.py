"""Batches of 4 MB whose samples sleep a little, and every third of which sleeps longer while it is collated.

Numbers are drawn where they are collated, and not for a sample.

Argument: how many workers.
"""

import sys
import time

import torch
from told import network
from torch.utils.data import DataLoader, Dataset


class Frames(Dataset):
    def __init__(self):
        self.frames = torch.zeros(4, 1_000_000, dtype=torch.uint8)

    def __len__(self):
        return 144

    def __getitem__(self, index):
        time.sleep(0.001)
        return index, self.frames[index % 4]


def collate(samples):
    time.sleep(0.06 if samples[0][0] % 12 == 0 else 0.0)
    first = int(torch.randint(16, ()))
    return torch.stack([frame[first:] for _, frame in samples])


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, workers = network(), int(sys.argv[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    ahead = {"prefetch_factor": 1} if workers else {}
    for frames in DataLoader(Frames(), batch_size=4, num_workers=workers, collate_fn=collate, **ahead):
        optimizer.zero_grad()
        model(frames[:, :16].float()).square().mean().backward()
        optimizer.step()
