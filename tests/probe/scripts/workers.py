"""A loader with two worker processes, started as the first argument says."""

import sys

import torch
from told import Told, network
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.full((16,), float(index)) + 0 * torch.rand(16), torch.ones(1)


def main():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    loader = DataLoader(
        Noisy(), batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context=sys.argv[1]
    )
    told = Told()
    told.begin()
    for _ in range(2):
        for x, y in loader:
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.step([loss], len(x))
    told.end()


if __name__ == "__main__":
    main()
