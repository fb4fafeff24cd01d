"""Metrics of every sample are read from tensors one by one, at every step."""
# truth: OTHER01 | HOST01
# evidence: values_read_each_step.py:22

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    right = 0
    for _ in range(100):
        x, y = torch.randn(256, 64), torch.randint(10, (256,))
        output = model(x)
        loss = nn.functional.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for i in range(len(y)):
            right += output[i].argmax().item() == y[i].item()
    print(right)


if __name__ == "__main__":
    main()
