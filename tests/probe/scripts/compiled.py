"""A model compiled in place, one wrapped by ``torch.compile``, and a compiled function around a model."""

import sys

import torch
from told import Told, network

inner = network()


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


model = Model()
kind = sys.argv[1]
if kind == "module":
    model.compile(fullgraph=True, backend="aot_eager")
    call = model
elif kind == "wrapped":
    call = torch.compile(model, fullgraph=True, backend="aot_eager")
else:
    call = torch.compile(lambda x: model(x), fullgraph=True, backend="aot_eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.randn(8, 16), torch.randn(8, 1)
told = Told()
told.begin()
for _ in range(20):
    loss = (call(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], None if kind == "function" else 8)
stats = torch._dynamo.utils.counters
told.end(graphs=stats["stats"]["unique_graphs"], breaks=sum(stats["graph_break"].values()))
