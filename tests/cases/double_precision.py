"""The data came from numpy as float64, and the model was made to match."""
# truth: PRECISION02

import numpy as np
import torch
from torch import nn


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(128, 256))), torch.from_numpy(rng.normal(size=(128, 1)))
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
