"""Trains beside a thread that, by the argument, computes in Python, in torch, or sleeps."""

import sys
import threading
import time

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

ended = threading.Event()
large = torch.rand(600, 600)
work = {
    "python": lambda: [float(number) for number in ["0.125"] * 20000],
    "torch": lambda: large @ large,
    "sleeps": lambda: time.sleep(0.01),
}[sys.argv[1]]


def run():
    while not ended.is_set():
        work()


torch.set_num_threads(1)
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
thread = threading.Thread(target=run, name="beside", daemon=True)
thread.start()
told = Told()
told.begin()
until = time.perf_counter() + 3.0
while time.perf_counter() < until:
    for x, y in DataLoader(samples(80), batch_size=8):
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        told.step([loss], 8)
told.end()
ended.set()
thread.join()
