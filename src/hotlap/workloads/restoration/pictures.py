"""The data: random patches of real photographs, degraded on the fly.

Pictures are decoded once, into memory. What a sample is depends on the seed and its number alone, never on who
fetches it or when, so that any number of workers gives the same batches.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from hotlap.errors import ConfigError
from hotlap.train.config.base import PatchByEpoch, size_at
from hotlap.train.config.restoration import EPOCH_SAMPLES
from hotlap.workloads.draws import generator_of
from hotlap.workloads.pictures import read_picture

#: Photographs inside the packages themselves, (package, folder in it, files). The two pictures of the motorcycle show
#: one scene from two sides: both are for training, so that nothing held out has been seen.
TRAINING = [
    (
        "skimage",
        "data",
        (
            "chelsea.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
    ("sklearn", "datasets/images", ("flower.jpg",)),
]
HELD_OUT = [("skimage", "data", ("astronaut.png", "coffee.png")), ("sklearn", "datasets/images", ("china.jpg",))]
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
#: In a folder of the user's, one picture in so many is held out, and at most three.
HOLD_OUT_EVERY = 5
#: Held-out pictures are cropped to their middle, so that validating takes less than a second.
HELD_OUT_PIXELS = 256


class Degradation(NamedTuple):
    """Makes the network's input from a clean picture."""

    #: What H and W are divided by; 1: noise is added instead.
    scale: int
    noise_sigma: float

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade (3, H, W) in 0..1."""
        if self.scale > 1:
            small = F.interpolate(clean[None], scale_factor=1 / self.scale, mode="bicubic", antialias=True)[0]
            return small.clamp_(0, 1)
        return clean + torch.randn(clean.shape, generator=generator) * (self.noise_sigma / 255)


class Patches(Dataset[tuple[Tensor, Tensor]]):
    """(input, target) for every number (epoch * EPOCH_SAMPLES + i), from a random place in one of the pictures."""

    epoch_samples = EPOCH_SAMPLES
    collate = None
    #: Pictures are in memory from the start.
    cache = None

    def __init__(
        self, pictures: list[Tensor], degradation: Degradation, patch_size: int | PatchByEpoch, seed: int
    ) -> None:
        self._pictures = pictures
        self._degradation = degradation
        self._size = patch_size
        self._seed = seed

    def __len__(self) -> int:
        return EPOCH_SAMPLES

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        generator = generator_of(self._seed, number)
        picture = self._pictures[number % len(self._pictures)]
        draw = torch.randint(0, 2**31, (5,), generator=generator).tolist()
        size = size_at(self._size, number // EPOCH_SAMPLES)
        top, left = draw[0] % (picture.shape[1] - size + 1), draw[1] % (picture.shape[2] - size + 1)
        patch = picture[:, top : top + size, left : left + size]
        mirrored = [axis for axis in (1, 2) if draw[axis + 1] % 2]
        patch = patch.flip(mirrored) if mirrored else patch
        patch = patch.transpose(1, 2) if draw[4] % 2 else patch
        clean = patch.contiguous().float() / 255
        return self._degradation(clean, generator), clean

    def predicted(self, epochs: list[list[int]]) -> None:
        return None

    def grouped(self, order: list[int], size: int, generator: torch.Generator) -> list[int]:
        return order

    def on_device(self, device: torch.device) -> None:
        return None


def held_out_pairs(pictures: list[Tensor], degradation: Degradation) -> list[tuple[Tensor, Tensor]]:
    """(input, target) of every held-out picture, each (1, 3, H, W), the same in every training."""
    pairs = []
    for index, picture in enumerate(pictures):
        height, width = (
            min(HELD_OUT_PIXELS, side) // degradation.scale * degradation.scale for side in picture.shape[1:]
        )
        top, left = (picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2
        clean = picture[:, top : top + height, left : left + width].float() / 255
        degraded = degradation(clean, torch.Generator().manual_seed(index))
        pairs.append((degraded[None], clean[None]))
    return pairs


def load_pictures(data_dir: str | None, patch_size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Decode the pictures for training and the held-out ones: uint8 of shape (3, H, W) each."""
    training, held_out = split(Path(data_dir)) if data_dir is not None else (_packaged(TRAINING), _packaged(HELD_OUT))
    return [decode(path, patch_size) for path in training], [decode(path, patch_size) for path in held_out]


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    """Divide the pictures of a user's folder, by name: the last of every five is held out, at most three in all.

    Two pictures of one scene are not recognised: give them neighbouring names, or keep one.
    """
    try:
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
    except OSError as error:
        raise ConfigError(
            f"data_dir {folder} cannot be read ({error.strerror}): give a folder of pictures, or null"
        ) from None
    if len(paths) < 2:
        found = "no picture" if not paths else "only one picture"
        raise ConfigError(
            f"data_dir {folder} has {found} ({', '.join(sorted(SUFFIXES))}): training needs at least two, "
            "because one is held out to measure the quality"
        )
    held_out = paths[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY][:3] or paths[-1:]
    return [path for path in paths if path not in held_out], held_out


def decode(path: Path, patch_size: int) -> Tensor:
    """Read a picture as uint8 of shape (3, H, W)."""
    picture = read_picture(path)
    height, width = picture.shape[1:]
    if min(width, height) < patch_size:
        raise ConfigError(
            f"{path} is {width} x {height} pixels, smaller than patch_size {patch_size}: "
            "lower patch_size or take the picture out"
        )
    return picture


def _packaged(groups: list[tuple[str, str, tuple[str, ...]]]) -> list[Path]:
    """Find the photographs on the disk, without importing the packages, which would take seconds."""
    paths = []
    for package, folder, names in groups:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise ConfigError(
                f"data_dir is null, but {package}, whose photographs it takes, is not installed: "
                "pip install scikit-image scikit-learn, or set data_dir to a folder of your pictures"
            )
        for name in names:
            path = Path(found.origin).parent / folder / name
            if not path.is_file():
                raise ConfigError(
                    f"data_dir is null, but {package} has no {path} here: set data_dir to a folder of pictures"
                )
            paths.append(path)
    return paths
