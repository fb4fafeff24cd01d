"""Two ranks train together, and the second one reads from slow storage: the first waits for it in every step."""
# truth: DISTRIBUTED02
# ranks: 2

import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset


class Shard(Dataset):
    def __init__(self, slow):
        self.slow = slow

    def __len__(self):
        return 480

    def __getitem__(self, index):
        time.sleep(0.003 if self.slow else 0)
        return torch.full((64,), index / 480)


def main():
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x in DataLoader(Shard(slow=dist.get_rank() == 1), batch_size=8):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
