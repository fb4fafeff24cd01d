"""RotNet: by which multiple of 90 degrees was this crop of a picture turned?"""

import argparse
import random
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class PngFolder(Dataset):
    def __init__(self, folder, crop=96, size=48, crops=20):
        self.paths = []
        for path in sorted(Path(folder).glob("*.png")):
            with Image.open(path) as image:
                if min(image.size) >= 256:
                    self.paths.append(path)
        self.crop, self.size, self.crops = crop, size, crops

    def __len__(self):
        return len(self.paths) * self.crops

    def __getitem__(self, index):
        image = Image.open(self.paths[index % len(self.paths)]).convert("RGB")
        left = random.randint(0, image.width - self.crop)
        top = random.randint(0, image.height - self.crop)
        patch = image.crop((left, top, left + self.crop, top + self.crop)).resize((self.size, self.size), Image.BICUBIC)
        turns = random.randint(0, 3)
        x = np.rot90(np.asarray(patch, dtype=np.float32) / 255, turns)
        return torch.from_numpy(x.transpose(2, 0, 1).copy()), turns


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        layers = []
        channels = 3
        for stage in range(3):
            layers += [
                nn.Conv2d(channels, width << stage, 3, padding=1),
                nn.BatchNorm2d(width << stage),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            channels = width << stage
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, 4)

    def forward(self, x):
        return self.classifier(self.features(x))


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--data", default=str(Path(skimage.__file__).parent / "data"))
    p.add_argument("--epochs", type=int, default=40)
    p.add_argument("-b", "--batch-size", type=int, default=16)
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def train(args):
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    loader = DataLoader(PngFolder(args.data), args.batch_size, shuffle=True)
    model = Net()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    model = model.to(memory_format=torch.channels_last)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    loss_fn = nn.CrossEntropyLoss()

    for epoch in range(1, args.epochs + 1):
        seen, loss_sum, right = 0, 0.0, 0
        for x, y in loader:
            out = model(x)
            loss = loss_fn(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(x)
            loss_sum += loss.item() * len(x)
            right += (out.argmax(1) == y).sum().item()
        scheduler.step()
        print(f"epoch {epoch}/{args.epochs} loss {loss_sum / seen:.6f} accuracy {right / seen:.3f}")
    print(f"final loss {loss_sum / seen:.6f}")


if __name__ == "__main__":
    train(parse())
