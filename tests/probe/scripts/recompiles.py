"""A model that is compiled again whenever a list has grown, in the steps that are given."""

import sys

import torch
from told import Told, network

AT = [int(step) for step in sys.argv[1].split(",")]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x, flag):
        return self.inner(x) * len(flag)


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
compiled = torch.compile(model, backend="aot_eager")
x, y = torch.randn(8, 16), torch.randn(8, 1)
told = Told()
told.begin()
flag = [0]
for step in range(30):
    if step in AT:
        flag.append(0)
    loss = (compiled(x, flag) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], 8)
counters = torch._dynamo.utils.counters
told.end(graphs=counters["stats"]["unique_graphs"], breaks=sum(counters["graph_break"].values()))
