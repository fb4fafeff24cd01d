"""A confusion matrix is counted in Python, sample by sample, after every step."""
# truth: OTHER01 | HOST01

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    matrix = [[0] * 10 for _ in range(10)]
    for _ in range(100):
        x, y = torch.randn(128, 64), torch.randint(10, (128,))
        output = model(x)
        loss = nn.functional.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for _ in range(60):
            for guess, truth in zip(output.argmax(1).tolist(), y.tolist(), strict=True):
                matrix[truth][guess] += 1


if __name__ == "__main__":
    main()
