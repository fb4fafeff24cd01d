"""A cell is called for each time step, but each call multiplies large matrices: one call for all would save little."""
# truth: none

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(64, 256)
        self.head = nn.Linear(256, 1)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 256)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(128 * 26, 24, 64), torch.randn(128 * 26, 1))
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    for x, y in DataLoader(data, batch_size=128):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
