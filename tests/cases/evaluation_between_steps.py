"""The whole validation set is evaluated after every tenth step."""
# truth: LOOP01

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def accuracy(model, loader):
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += int((model(x).argmax(1) == y).sum())
    model.train()
    return right / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train = DataLoader(TensorDataset(torch.randn(3200, 128), torch.randint(10, (3200,))), batch_size=32)
    valid = DataLoader(TensorDataset(torch.randn(2560, 128), torch.randint(10, (2560,))), batch_size=32)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    best = 0.0
    for i, (x, y) in enumerate(train):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 10 == 9:
            best = max(best, accuracy(model, valid))
    print("best accuracy", best)


if __name__ == "__main__":
    main()
