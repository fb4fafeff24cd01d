"""Every third batch has a sample from slow storage; four workers are fast enough, but each batch waits for its turn."""
# truth: DATA07
# evidence: a later batch was ready

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Uneven(Dataset):
    def __len__(self):
        return 360

    def __getitem__(self, index):
        if index % 12 == 0:
            time.sleep(0.1)
        return torch.full((64,), index / 360), index % 10


class Elsewhere(nn.Module):
    """Stands for an accelerator that the training waits for: it takes as long on any machine."""

    def forward(self, x):
        time.sleep(0.01)
        return x


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(64, 128), Elsewhere(), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in DataLoader(Uneven(), batch_size=4, num_workers=4, prefetch_factor=1):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
