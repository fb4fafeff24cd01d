"""A training that keeps the time of one part of its process by a stopwatch of its own; the argument names the part."""

import itertools
import os
import sys
import tempfile
import time

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

KIND = sys.argv[1]
part = 0.0


def timed(work):
    global part
    begin = time.perf_counter()
    work()
    part += time.perf_counter() - begin


def wake(worker):
    """What a worker takes before its first batch."""
    time.sleep(0.5)


def started(loader):
    """A loader's batches; the stopwatch runs until the first is there."""
    global part
    begin = time.perf_counter()
    iterator = iter(loader)
    first = next(iterator)
    part += time.perf_counter() - begin
    return itertools.chain([first], iterator)


def train(call, model, loader, optimizer, told, epochs, after):
    for epoch in range(epochs):
        for x, y in started(loader) if KIND == "workers" else loader:
            loss = (call(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            told.step([loss], len(x))
        after(epoch)


def main():
    if KIND == "late":
        timed(lambda: time.sleep(2.5))
    model = call = network()
    if KIND == "compiled":
        call = torch.compile(model, backend="aot_eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    workers = {"num_workers": 1, "worker_init_fn": wake} if KIND == "workers" else {}
    loader = DataLoader(samples(64), batch_size=4, **workers)

    def validate():
        model.eval()
        with torch.no_grad():
            for x, _ in DataLoader(samples(32, seed=3), batch_size=8):
                model(x)
                time.sleep(0.05)
        model.train()

    def save():
        state = {"model": model.state_dict(), "much": torch.ones(20_000_000)}
        with tempfile.TemporaryFile() as file:
            timed(lambda: torch.save(state, file))

    def after(epoch):
        if epoch == 3:
            return
        if KIND == "validation":
            timed(validate)
        elif KIND == "checkpoint":
            save()

    told = Told()
    told.begin()
    train(call, model, loader, optimizer, told, 2 if KIND == "workers" else 4, after)
    if KIND == "end":
        timed(lambda: time.sleep(1.0))
    told.end(part=part)
    if KIND == "exit":
        time.sleep(0.3)
        os._exit(0)


if __name__ == "__main__":
    main()
