"""Two data parallel ranks, started by torchrun. Sleeping stands for work, so that it lasts as long everywhere."""

import contextlib
import os
import sys
import time

import torch
from told import Told
from torch.nn.parallel import DistributedDataParallel

WAY = sys.argv[1]
STEPS, WORK, MORE = 22, 0.02, 0.05
RANK = int(os.environ["RANK"])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(16, 32)
        self.norm = torch.nn.BatchNorm1d(32)
        self.last = torch.nn.Linear(32, 1)

    def forward(self, x):
        longer = {"forward": RANK == 1, "first": RANK == 0, "unequal": len(x) > 8, "healthy": True}
        time.sleep(WORK + MORE * longer.get(WAY, False))
        return self.last(self.norm(self.first(x)))


class Samples(torch.utils.data.Dataset):
    def __init__(self):
        generator = torch.Generator().manual_seed(RANK)
        self.x = torch.randn(STEPS, 16, 16, generator=generator)

    def __len__(self):
        return STEPS

    def __getitem__(self, i):
        if WAY == "data" and RANK == 1:
            time.sleep(MORE)
        return self.x[i, : 16 if WAY == "unequal" and RANK == 1 else 8]


torch.distributed.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(Net(), find_unused_parameters=WAY == "search")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
told = Told()
told.begin()
losses = []
every = 3 if WAY in ("accumulate", "no_sync") else 1
for i, x in enumerate(torch.utils.data.DataLoader(Samples(), batch_size=None)):
    last = i % every == every - 1
    with model.no_sync() if WAY == "no_sync" and not last else contextlib.nullcontext():
        loss = model(x).square().mean()
        loss.backward()
    losses.append(loss.detach())
    if not last:
        continue
    optimizer.step()
    optimizer.zero_grad()
    if WAY == "search":
        mean = losses[-1].clone()
        torch.distributed.all_reduce(mean)
    told.step(losses, 8 * len(losses), len(losses))
    losses = []
if RANK == 0:
    told.end()
torch.distributed.destroy_process_group()
