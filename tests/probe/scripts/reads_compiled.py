"""Compiled code that reads a tensor, and is compiled again when a watched step may be under way."""

import torch
from told import Told, network

model = network()


def twice(x):
    y = model(x)
    if y.sum().item() > 1e9:
        return y
    return y + y[y > 0].sum()


call = torch.compile(twice, backend="aot_eager", dynamic=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
told = Told()
told.begin()
graphs = []
for number in range(24):
    x = torch.randn(4 + min(number // 3, 5), 16)
    loss = call(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    told.step([loss], None)
    graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
told.end(graphs=graphs)
