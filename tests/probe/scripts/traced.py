"""A perceptron of 8, 16 and 4, on batches of 32; with "compile" compiled, counting its graphs.

With "evaluate" it is evaluated after every step, in inference mode.
"""

from __future__ import annotations

import sys

import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
if "compile" in sys.argv:
    model.compile(backend="aot_eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
batches = torch.utils.data.DataLoader(torch.randn(32 * 24, 8), batch_size=32)
losses = []


@torch.inference_mode()
def evaluate():
    model.eval()
    for x in torch.utils.data.DataLoader(torch.randn(8, 8), batch_size=8):
        model(x)
    model.train()


for x in batches:
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item().hex())
    if "evaluate" in sys.argv:
        evaluate()
graphs = 0
if "compile" in sys.argv:
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
sys.stdout.write(f"LOSSES {' '.join(losses)}\nGRAPHS {graphs}\n")
