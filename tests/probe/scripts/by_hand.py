"""No optimizer: parameters are updated by hand, and the script says where a step ends and which part is what."""

import time

import torch
from told import Told, network

import hotlap

model = network()
x, y = torch.randn(8, 16), torch.randn(8, 1)
told = Told()
told.begin()
for number in range(30):
    with hotlap.phase("data_wait"):
        time.sleep(0.001)
    loss = (model(x) - y).square().mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    with hotlap.phase("optimizer"), torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= 0.01 * gradient
    told.step([loss], 8)
    if number == 9:
        hotlap.metric("quality", 0.5)
    hotlap.step()
told.end()
