"""A UNet that removes noise from photographs."""

import argparse
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset

PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg"]


class NoisyPatches(Dataset):
    """Patches in memory, with the same noise every time."""

    def __init__(self, size=64, count=768, sigma=0.1):
        folder = Path(skimage.__file__).parent / "data"
        generator = torch.Generator().manual_seed(0)
        pictures = [np.asarray(Image.open(folder / name).convert("RGB")) for name in PHOTOS]
        pictures = [torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in pictures]
        self.clean = []
        for number in range(count):
            picture = pictures[number % len(pictures)]
            top = torch.randint(picture.shape[1] - size, (1,), generator=generator).item()
            left = torch.randint(picture.shape[2] - size, (1,), generator=generator).item()
            self.clean.append(picture[:, top : top + size, left : left + size].float() / 255)
        self.noise = [sigma * torch.randn(3, size, size, generator=generator) for _ in range(count)]

    def __len__(self):
        return len(self.clean)

    def __getitem__(self, i):
        return self.clean[i] + self.noise[i], self.clean[i]


def double_conv(n_in, n_out):
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, base=32):
        super().__init__()
        self.down1 = double_conv(3, base)
        self.down2 = double_conv(base, 2 * base)
        self.middle = double_conv(2 * base, 4 * base)
        self.up2 = nn.ConvTranspose2d(4 * base, 2 * base, 2, stride=2)
        self.conv2 = double_conv(4 * base, 2 * base)
        self.up1 = nn.ConvTranspose2d(2 * base, base, 2, stride=2)
        self.conv1 = double_conv(2 * base, base)
        self.out = nn.Conv2d(base, 3, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        d1 = self.down1(x)
        d2 = self.down2(self.pool(d1))
        m = self.middle(self.pool(d2))
        u2 = self.conv2(torch.cat([self.up2(m), d2], dim=1))
        u1 = self.conv1(torch.cat([self.up1(u2), d1], dim=1))
        return x + self.out(u1)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=8)
    ap.add_argument("--batch-size", type=int, default=8)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--seed", type=int, default=0)
    opt = ap.parse_args()

    torch.manual_seed(opt.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader = DataLoader(NoisyPatches(), batch_size=opt.batch_size, shuffle=True)
    net = UNet().to(device)
    criterion = nn.L1Loss()
    optimizer = torch.optim.Adam(net.parameters(), lr=opt.lr)

    for epoch in range(opt.epochs):
        net.train()
        running = 0.0
        for step, (noisy, clean) in enumerate(train_loader):
            noisy, clean = noisy.to(device), clean.to(device)
            optimizer.zero_grad()
            loss = criterion(net(noisy), clean)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if step % 24 == 0:
                print(f"  step {step}: {loss.item():.4f}")
        print(f"epoch {epoch + 1}/{opt.epochs} loss {running / len(train_loader):.6f}")
    print(f"final loss {running / len(train_loader):.6f}")
