"""Pictures of a user's own, of several depths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hotlap.errors import ConfigError
from hotlap.workloads.pictures import read_picture


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_keeps_its_brightness(tmp_path: Path, suffix: str) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(deep).save(path)
    assert (read_picture(path).numpy() == (deep >> 8)[None]).all()


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(path)
    with pytest.raises(ConfigError, match="save it with 8 or 16 bits"):
        read_picture(path)
