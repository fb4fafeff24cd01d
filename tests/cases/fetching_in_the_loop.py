"""Every sample is decoded in a Python loop, in the process that trains: the loader has no workers."""
# truth: DATA01

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Decoded(Dataset):
    def __len__(self):
        return 560

    def __getitem__(self, index):
        value = index
        for _ in range(25_000):
            value = (value * 1103515245 + 12345) % 2147483648
        return torch.full((64,), value / 2147483648), torch.tensor([index / 560])


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in DataLoader(Decoded(), batch_size=8):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
