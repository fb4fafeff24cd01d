"""Epochs are short, and each starts its workers anew, although they keep up once they run."""
# truth: LOOP05

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Batches(Dataset):
    def __init__(self):
        self.x, self.y = torch.randn(2400, 128), torch.randint(10, (2400,))

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = slice(400 * index, 400 * (index + 1))
        return self.x[rows], self.y[rows]


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = DataLoader(Batches(), batch_size=None, num_workers=2)
    for _ in range(16):
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
