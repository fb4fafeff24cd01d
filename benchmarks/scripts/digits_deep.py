"""A very deep and narrow residual network on handwritten digits."""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + F.relu(self.linear(self.norm(x)))


class DeepNet(nn.Module):
    def __init__(self, width=48, depth=80, classes=10):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


def get_data():
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    return TensorDataset(images, torch.tensor(digits.target))


def get_optimizer(params, lr):
    # foreach needs too much memory at the peak
    return torch.optim.AdamW(params, lr=lr, weight_decay=0.01, foreach=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    loader = DataLoader(get_data(), batch_size=args.batch_size, shuffle=True)
    model = DeepNet()
    optimizer = get_optimizer(model.parameters(), args.lr)

    for epoch in range(args.epochs):
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{args.epochs} loss {total / len(loader):.6f}")
    print(f"final loss {total / len(loader):.6f}")


if __name__ == "__main__":
    main()
