"""Training scripts of a second or two whose speed hangs on one thing alone, so that the verdict is sure."""

from __future__ import annotations

#: Fetching sleeps: workers help, and change no number.
SLOW_FETCH = """\
import sys, time
import torch
from torch.utils.data import DataLoader, Dataset

class Samples(Dataset):
    def __len__(self):
        return 100000

    def __getitem__(self, index):
        time.sleep({sleep})
        return torch.full((8,), float(index % 7)), torch.tensor([float(index % 3)])

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for step, (x, y) in enumerate(DataLoader(Samples(), batch_size=4, shuffle=True)):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        torch.save(model.state_dict(), "model.pt")
        print(step, loss.item(), file=open("train.log", "a"))
    if step == {steps}:
        break
"""
