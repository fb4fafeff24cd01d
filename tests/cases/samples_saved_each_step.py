"""What the model makes is compressed and kept after every step, in the loop itself."""
# truth: OTHER01
# evidence: samples_saved_each_step.py:23
# evidence: `zlib.compress`

import zlib

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(60):
        x = torch.randn(256, 64)
        output = model(x)
        loss = (output - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        kept = zlib.compress(output.detach().numpy().tobytes() * 4, level=6)
    print(len(kept))


if __name__ == "__main__":
    main()
