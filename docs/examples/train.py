"""A training that waits: each picture comes from a slow drive, one after the other."""

import argparse
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __len__(self):
        return 1024

    def __getitem__(self, index):
        time.sleep(0.002)  # stands for the drive
        label = index % 10
        noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return noise + label / 10, label


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()

    torch.manual_seed(0)
    loader = DataLoader(Pictures(), options.batch_size, shuffle=True, num_workers=options.workers)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(options.epochs):
        for pictures, labels in loader:
            loss = nn.functional.cross_entropy(model(pictures), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
