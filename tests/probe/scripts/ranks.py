"""Two ranks, started by torchrun or, with the argument "spawn", by torch.multiprocessing."""

import os
import sys

import torch
from told import Told, network
from torch.nn.parallel import DistributedDataParallel


def train(rank, size):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=size)
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(8, 16), torch.randn(8, 1)
    told = Told()
    told.begin()
    for _ in range(20):
        loss = (model(x) - y).square().mean() + rank
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        told.step([loss], 8)
    if rank == 0:
        told.end()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if sys.argv[1:2] == ["spawn"]:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ["MASTER_PORT"] = sys.argv[2]
        torch.multiprocessing.spawn(train, args=(2,), nprocs=2)
    else:
        train(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
