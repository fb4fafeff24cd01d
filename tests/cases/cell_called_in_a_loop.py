"""A cell is called for each time step in Python: calling its operators takes far longer than computing them."""
# truth: HOST09
# evidence: cell (LSTMCell) 100 times

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 32)
        outputs = []
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            outputs.append(self.head(h))
        return torch.cat(outputs, 1)


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(960, 100, 3), torch.randn(960, 100))
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    for x, y in DataLoader(data, batch_size=16):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
