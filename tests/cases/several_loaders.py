"""Two loaders feed each step; one of them reads from slow storage in the training loop."""
# truth: DATA01

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Unlabelled(Dataset):
    def __len__(self):
        return 480

    def __getitem__(self, index):
        time.sleep(0.001)
        return torch.full((64,), index / 480)


def main():
    torch.manual_seed(0)
    labelled = TensorDataset(torch.randn(480, 64), torch.randint(10, (480,)))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for (x, y), u in zip(DataLoader(labelled, batch_size=8), DataLoader(Unlabelled(), batch_size=8), strict=True):
        loss = nn.functional.cross_entropy(model(x), y) + 0.1 * model(u).var(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
