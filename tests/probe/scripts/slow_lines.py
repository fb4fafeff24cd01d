"""A loop with slow lines that nothing marks: one that keeps the lock, one of Python, and one that is the loss."""

import _thread
import weakref
import zlib

import torch
from told import Told, network

torch.manual_seed(0)
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
held = bytes(range(256)) * 6000
threads = set()


class Kept:
    """What a frame would keep alive."""


def counted(seconds):
    kept = Kept()
    seen.append(weakref.ref(kept))
    return sum(i * i for i in range(300_000))  # Python


def compared(output, x):
    return sum((output - row).abs().mean() for row in x.mean(1) for _ in range(60))  # loss


seen = []
told = Told()
told.begin()
for _ in range(60):
    x = torch.randn(8, 16)
    loss = compared(model(x), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    text = held.translate(None, delete=b"x").count(b"z") + zlib.crc32(zlib.compress(held, 6))  # C
    counted(0.01)
    assert seen.pop()() is None
    threads.add(_thread._count())
    told.step([loss], 8)
told.end(threads=sorted(threads), after=_thread._count())
