"""The probe fails in the middle of the training."""

import sys

import torch
from told import network, samples


def fail(*_):
    raise RuntimeError("planted")


model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step, (x, _) in enumerate(torch.utils.data.DataLoader(samples(400), batch_size=4)):
    if step == 20:
        sys.modules["hotlap.probe"].active.record.steps_over = fail
    optimizer.zero_grad()
    model(x).mean().backward()
    optimizer.step()
print("steps:", step + 1)
