"""A wide network in bfloat16 on data in memory: nearly all of a step is large matrix products."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.randn(8192, args.width, device=device, dtype=torch.bfloat16)
    teacher = torch.randn(args.width, 16, device=device, dtype=torch.bfloat16)
    y = (x @ teacher).argmax(1)

    layers = []
    for _ in range(4):
        layers += [nn.Linear(args.width, args.width), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.Linear(args.width, 16)).to(device, torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, fused=True)

    mean = torch.zeros((), device=device)
    for step in range(args.steps):
        start = step * args.batch_size % (len(x) - args.batch_size + 1)
        batch = slice(start, start + args.batch_size)
        loss = F.cross_entropy(model(x[batch]).float(), y[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        mean = 0.98 * mean + 0.02 * loss.detach()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}/{args.steps} loss {mean.item() / (1 - 0.98 ** (step + 1)):.6f}")
    print(f"final loss {mean.item() / (1 - 0.98**args.steps):.6f}")


if __name__ == "__main__":
    main()
