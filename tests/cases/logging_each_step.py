"""A logger with an expensive format writes a long line for every parameter at every step."""
# truth: LOOP03

import logging
import os

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    log = logging.getLogger("training")
    log.propagate = False
    handler = logging.FileHandler(os.devnull)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(pathname)s:%(lineno)d %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 64)
    for i in range(80):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, parameter in model.named_parameters():
            log.info("step %d %s %s", i, name, parameter.detach())


if __name__ == "__main__":
    main()
