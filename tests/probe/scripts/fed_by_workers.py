"""A loop of about two seconds that two workers feed."""

import time

import torch
from told import network, samples
from torch.utils.data import DataLoader

torch.set_num_threads(1)
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
loader = DataLoader(samples(64), batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
began = time.perf_counter()
while time.perf_counter() - began < 2.5:
    for x, y in loader:
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        time.sleep(0.005)
