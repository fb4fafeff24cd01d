"""Epochs are short, and each starts new workers, although they keep up once they run."""
# truth: LOOP05 | DATA04

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Light(Dataset):
    def __len__(self):
        return 5760

    def __getitem__(self, index):
        value = index
        for _ in range(100):
            value = (value * 1103515245 + 12345) % 2147483648
        return torch.full((256,), value / 2147483648), index % 10


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = DataLoader(Light(), batch_size=192, num_workers=1)
    for _ in range(5):
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
