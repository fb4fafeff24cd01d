"""A training on the CPU beside a GPU that is only pretended: it comes to each event at the moment of its mark."""

import sys

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader


class Event:
    def __init__(self, enable_timing=False):
        self.at = None

    def record(self):
        self.at = sys._getframe(1).f_locals["now"]

    def query(self):
        return True

    def elapsed_time(self, later):
        return (later.at - self.at) / 1e6


torch.cuda.Event = Event
torch.cuda.is_initialized = lambda: True
torch.cuda.is_current_stream_capturing = lambda: False
torch.cuda.current_device = lambda: 0
torch.cuda.get_device_properties = lambda device: None
torch.cuda._sleep = lambda cycles: None
model = network()
optimizer = torch.optim.AdamW(model.parameters())
loader = DataLoader(samples(40 * 8), batch_size=8)
told = Told()
told.begin()
for x, y in loader:
    losses = []
    for half in (slice(0, 4), slice(4, 8)):
        losses.append((model(x[half]) - y[half]).square().mean())
        losses[-1].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    told.step(losses, 8, 2)
told.end()
