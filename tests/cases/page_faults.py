"""Large activations go back to the kernel after every step, and the next step fetches them again."""
# truth: MEMORY01

import torch


def main():
    torch.manual_seed(0)
    weight = torch.randn(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.01)
    x = torch.ones(9_000_000)
    for _ in range(30):
        loss = (x * weight).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
