"""What a look at the script's objects may stumble over: each line here once ended a training or its recording."""

import os
from dataclasses import dataclass

import torch

ITEM, BACKWARD = torch.Tensor.item, torch.Tensor.backward


@dataclass
class Batch:
    observations: torch.Tensor
    values: torch.Tensor


class Odd(torch.nn.Module):
    parameters = 3  # hides the method of that name


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used = torch.nn.Linear(4, 4)
        self.unused = torch.nn.LazyLinear(3)

    def forward(self, batch):
        return self.used(batch.observations) - batch.values


class Scale(Odd):
    def forward(self, x):
        return x * 2


torch.manual_seed(0)
model, odd = Model(), Scale()
optimizer = torch.optim.SGD(model.used.parameters(), lr=0.01)
loader = torch.utils.data.DataLoader([torch.ones(4)] * 40, batch_size=1, collate_fn=lambda b: Batch(b[0], b[0]))
held = torch.ones(2, 3, requires_grad=True) * 1
first, second = held.unbind(0)
held.mul_(2)  # from now on the gradient function of the views cannot be asked for
wave = torch.ones((), dtype=torch.complex64, requires_grad=True)
left = 0
for batch in loader:
    output = odd(model(batch))
    (penalty,) = torch.autograd.grad(outputs=output.sum(), inputs=[model.used.weight], create_graph=True)
    loss = output.square().mean() + penalty.square().mean()
    optimizer.zero_grad()
    torch.autograd.backward(tensors=loss)
    (wave * 1).backward(gradient=torch.ones((), dtype=torch.complex64))
    optimizer.step()
    child = os.fork()
    if not child:
        os._exit(torch.Tensor.item is not ITEM or torch.Tensor.backward is not BACKWARD)
    left += os.waitpid(child, 0)[1] != 0
print("patched in a child:", left)
