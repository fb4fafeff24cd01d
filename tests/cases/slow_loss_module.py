"""The loss module compares local statistics at many scales, which takes longer than the network."""
# truth: LOSS01
# evidence: StructureLoss

import torch
from torch import nn
from torch.nn import functional


class StructureLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.ones(3, 1, 9, 9) / 81)

    def forward(self, output, target):
        loss = 0
        for _ in range(2):
            mean = [functional.conv2d(image, self.window, groups=3) for image in (output, target)]
            square = [functional.conv2d(image**2, self.window, groups=3) for image in (output, target)]
            cross = functional.conv2d(output * target, self.window, groups=3) - mean[0] * mean[1]
            spread = square[0] - mean[0] ** 2 + square[1] - mean[1] ** 2
            loss = loss + (1 - (2 * cross + 0.01) / (spread + 0.01)).mean()
            output, target = functional.avg_pool2d(output, 2), functional.avg_pool2d(target, 2)
        return loss


def main():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 3, padding=1)
    criterion = StructureLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(60):
        target = torch.rand(2, 3, 48, 48)
        loss = criterion(model(target + 0.1 * torch.randn_like(target)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
