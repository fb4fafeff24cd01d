"""Samples lie in memory, but a batch is 20 MB: its way from two workers takes longer than all else in the step."""
# truth: DATA06
# evidence: on its way

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Frames(Dataset):
    def __init__(self):
        self.frames = torch.randint(256, (8, 5_000_000), dtype=torch.uint8)

    def __len__(self):
        return 480

    def __getitem__(self, index):
        return self.frames[index % 8], index % 10


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in DataLoader(Frames(), batch_size=4, num_workers=2):
        loss = nn.functional.cross_entropy(model(x[:, :64] / 255), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
