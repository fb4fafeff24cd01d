"""A thread of the same process parses text in Python, and the training shares the interpreter's lock with it."""
# truth: HOST08
# evidence: `parser`

import queue
import threading

import torch
from torch import nn

STEPS = 80


def main():
    torch.manual_seed(0)
    lines = [",".join(f"{value:f}" for value in torch.randn(100).tolist()) for _ in range(768)]
    parsed = queue.Queue(4)

    def parse():
        for _ in range(STEPS):
            parsed.put(torch.tensor([[float(value) for value in line.split(",")] for line in lines]))

    threading.Thread(target=parse, name="parser", daemon=True).start()
    model = nn.Linear(100, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        x = parsed.get()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
