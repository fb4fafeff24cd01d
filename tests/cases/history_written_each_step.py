"""The whole history of the training is written as JSON, to a new file, after every step."""
# truth: LOOP03

import json
import tempfile
from pathlib import Path

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 64)
    history = [{"step": -i, "loss": 1.0, "lr": 0.01} for i in range(1000)]
    with tempfile.TemporaryDirectory() as folder:
        for i in range(60):
            loss = (model(x) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append({"step": i, "loss": loss.item(), "lr": 0.01})
            with open(Path(folder) / f"history-{i}.json", "w") as file:
                json.dump(history, file, indent=2)


if __name__ == "__main__":
    main()
