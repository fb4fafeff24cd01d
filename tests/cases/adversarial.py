"""A generator and a discriminator with an optimizer each, both well fed."""
# truth: none

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 128))
    discriminator = nn.Sequential(nn.Linear(128, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))
    criterion = nn.BCEWithLogitsLoss()
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-4, fused=True)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-4, fused=True)
    real, ones, zeros = torch.randn(128, 128), torch.ones(128, 1), torch.zeros(128, 1)
    for _ in range(150):
        fake = generator(torch.randn(128, 32))
        loss = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
        of_discriminator.zero_grad()
        loss.backward()
        of_discriminator.step()
        loss = criterion(discriminator(fake), ones)
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()


if __name__ == "__main__":
    main()
