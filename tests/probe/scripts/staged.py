"""Blocks that are recomputed in backward, one of which works ten times; validation; a frozen network in the loss."""

import torch
from told import Told
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)


class Block(torch.nn.Module):
    def __init__(self, times):
        super().__init__()
        self.times = times
        self.norm = torch.nn.LayerNorm(128)
        self.up = torch.nn.Linear(128, 512)
        self.down = torch.nn.Linear(512, 128)

    def forward(self, x):
        for _ in range(self.times):
            x = x + self.down(torch.relu(self.up(self.norm(x))))
        return x


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Linear(16, 128)
        self.blocks = torch.nn.ModuleList(Block(10 if i == 3 else 1) for i in range(5))
        self.head = torch.nn.Linear(128, 16)

    def forward(self, x):
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=bool(i % 2))
        return self.head(x)


class Teacher(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.inner = block

    def forward(self, x):
        return self.inner(x).square().mean()


net = Net()
teacher = Teacher(torch.nn.Linear(16, 4)).eval().requires_grad_(False)
optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
x, y = torch.randn(96, 16), torch.randn(96, 16)
told = Told()
told.begin()
for _ in range(30):
    output = net(x)
    loss = (output - y).square().mean() + teacher(output)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], 96)
    with torch.no_grad():
        net.eval()(x)
    net.train()
told.end()
