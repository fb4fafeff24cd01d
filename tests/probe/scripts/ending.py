"""Ends as the first argument says: by ``os._exit`` after a while, by an exception, or by training in children too."""

import multiprocessing
import os
import subprocess
import sys
import time

import torch
from told import Told, network


def train(steps, told=None, after=lambda number: None):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(8, 16), torch.randn(8, 1)
    for number in range(steps):
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if told:
            told.step([loss], 8)
        after(number)


def fail(number):
    if number == 9:
        raise RuntimeError("planted")


if __name__ == "__main__":
    how = sys.argv[1]
    told = Told()
    told.begin()
    if how == "child":
        train(50)
    elif how == "exit":
        train(40, told, lambda number: time.sleep(0.01))
        os._exit(0)
    elif how == "exception":
        train(20, told, fail)
    else:
        train(20, told)
        told.end()
        subprocess.run([sys.executable, __file__, "child"], check=True)
        for context in ("fork", "spawn"):
            child = multiprocessing.get_context(context).Process(target=train, args=(50,))
            child.start()
            child.join()
            assert child.exitcode == 0
