"""A dataset of many small objects, with a cache of its own, validated before it is trained on."""

import torch
from told import Told, network
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Names(Dataset):
    def __init__(self):
        self.names = [f"{number:08}.png" for number in range(20_000)]
        self.values = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
        self.kept = {}

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index not in self.kept:
            self.kept[index] = self.values[index], torch.tensor([float(len(self.names[index]))])
        return self.kept[index]


model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()
with torch.no_grad():
    for (x,) in DataLoader(TensorDataset(torch.zeros(8, 16)), batch_size=4):
        model(x)
told.begin()
for x, y in DataLoader(Names(), batch_size=4, num_workers=2):
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], 4)
told.end()
