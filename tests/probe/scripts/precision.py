"""bfloat16 autocast inside the model's forward, a gradient scaler that is off, then one that skips a step."""

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

inner = network()


class Mixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x)


model = Mixed()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()
told.begin()
for scaler in (torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu", init_scale=1024.0)):
    for number, (x, y) in enumerate(DataLoader(samples(40), batch_size=4)):
        loss = (model(x).float() - y).square().mean()
        scaler.scale(loss).backward()
        if number == 3 and scaler.is_enabled():
            next(model.parameters()).grad[0] = torch.inf
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        told.step([loss], 4)
told.end()
