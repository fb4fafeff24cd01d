"""Spike streams on the disk: the bit-packed ``.dat`` of spike cameras, which has neither header nor size inside.

    (T, H, W) of 0 and 1 -> each time step upside down -> row after row -> eight to a byte, the first in its lowest bit

So T = 8 x size / (H x W), if H and W are known; it must be a whole number.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hotlap.errors import ConfigError

#: Height and width of the cameras and data sets that are common: Vidar, GoPro, the second spike camera, X4K.
COMMON_SIZES = ((250, 400), (720, 1280), (1000, 1000), (2160, 4096))


def time_steps(path: Path, height: int, width: int) -> int:
    """Number of time steps in the file, from its size alone. Raises ``ConfigError`` where that is not whole."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a file of spikes") from None
    steps, rest = divmod(8 * size, height * width)
    if steps and not rest:
        return steps
    unit = math.lcm(height * width, 8) // 8
    whole = [str(count) for count in (size // unit * unit, (size // unit + 1) * unit) if count]
    sizes = [f"{h} x {w}" for h, w in COMMON_SIZES if size and not 8 * size % (h * w)]
    raise ConfigError(
        f"{path} has {size} bytes, which is {8 * size / (height * width):.2f} time steps of {height} x {width} and "
        f"must be a whole number ({' or '.join(whole)} bytes): write it again, or give pictures of its real size"
        + (f", which may be {' or '.join(sizes)}" if sizes else "")
    )


def read_dat(path: Path, height: int, width: int, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
    """Read the time steps from ``start`` up to, without, ``stop``: (T, H, W), the first row on top."""
    steps = time_steps(path, height, width)
    stop = steps if stop is None else stop
    if not 0 <= start < stop <= steps:
        raise ConfigError(f"{path} has {steps} time steps, but {start} to {stop} are asked for: write the file again")
    first, last = start * height * width, stop * height * width
    packed = np.fromfile(path, np.uint8, count=-(-last // 8) - first // 8, offset=first // 8)
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :][: last - first]
    return bits.view(np.bool_).reshape(stop - start, height, width)[:, ::-1]


def write_dat(path: Path, spikes: NDArray[np.bool_] | NDArray[np.uint8]) -> None:
    """Write (T, H, W) of 0 and 1. T x H x W must fill whole bytes, or the number of time steps could not be told."""
    if not spikes.size or spikes.size % 8:
        raise ConfigError(
            f"{path} cannot hold {' x '.join(map(str, spikes.shape))} spikes, which do not fill whole bytes: "
            "crop the height or the width to a multiple of 8"
        )
    path.write_bytes(np.packbits(spikes[:, ::-1].astype(np.bool_), axis=None, bitorder="little").tobytes())
