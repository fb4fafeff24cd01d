"""Steps on a GPU in which nothing may wait for it: torch raises an error where anything does."""

import torch
from told import Told, samples
from torch.utils.data import DataLoader

torch.manual_seed(0)
width = 4096
model = torch.nn.Sequential(
    torch.nn.Linear(16, width), *(torch.nn.Linear(width, width) for _ in range(4)), torch.nn.Linear(width, 1)
).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
loader = DataLoader(samples(40 * 2048), batch_size=2048)
losses = []
told = Told()
told.begin()
for x, y in loader:
    x, y = x.cuda(), y.cuda()
    torch.cuda.set_sync_debug_mode("error")
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.set_sync_debug_mode("default")
    losses.append(loss.detach())
torch.cuda.synchronize()
for loss in losses:
    told.step([loss], 2048)
told.end()
