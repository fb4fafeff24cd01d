"""A plain loop: two micro-batches a step, epochs that end in the middle, a smaller last batch, clipping."""

import torch
from told import Told, network, samples
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

model = network()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
criterion = torch.nn.MSELoss()
loader = DataLoader(samples(38), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(2))
told = Told()
told.begin()
for _ in range(8):
    losses, sizes = [], []
    for x, y in loader:
        losses.append(criterion(model(x), y) / 2)
        sizes.append(len(x))
        losses[-1].backward()
        if len(losses) == 2:
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            told.step(losses, sum(sizes), 2)
            losses, sizes = [], []
told.end()
