"""The weights and the optimizer's state are written to disk after every second step."""
# truth: LOOP02

import tempfile
from pathlib import Path

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = torch.randn(8, 512)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(80):
            loss = (model(x) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if i % 2:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": i}
                torch.save(state, Path(folder) / "last.pt")


if __name__ == "__main__":
    main()
