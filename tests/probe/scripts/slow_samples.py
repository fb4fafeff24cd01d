"""Two workers whose samples take 5 ms, by the argument asleep or at work in Python."""

import sys
import time

import torch
from told import network
from torch.utils.data import DataLoader, Dataset


class Slow(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        until = time.thread_time() + 0.005
        if sys.argv[1] == "asleep":
            time.sleep(0.005)
        else:
            while time.thread_time() < until:
                pass
        return torch.full((16,), index / 64), torch.ones(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loader = DataLoader(Slow(), batch_size=4, num_workers=2, persistent_workers=True)
    for _ in range(5):
        for x, y in loader:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
