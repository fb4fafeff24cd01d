"""Pictures from files, for all workloads that learn from pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from hotlap.errors import ConfigError


def read_picture(path: Path) -> Tensor:
    """Read a picture as uint8 of shape (3, H, W); of 16 bits the upper eight."""
    with _opened(path) as file:
        if file.mode == "F":
            raise ConfigError(f"{path} has numbers of floating point: save it with 8 or 16 bits")
        if file.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip at 255
            upper = (np.asarray(file).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            picture = Image.fromarray(upper).convert("RGB")
        else:
            picture = file.convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1).contiguous()


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, from the beginning of its file."""
    with _opened(path) as file:
        return file.height, file.width


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as file:
            yield file
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as a picture ({error}): repair it or take it out of the folder"
        ) from None
