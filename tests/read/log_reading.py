"""Reading text that stands in a test."""

from __future__ import annotations

from pathlib import Path

from hotlap.read import read
from hotlap.records import Reading


def read_text(
    folder: Path, *texts: str | bytes, batch_size: int | None = None, world_size: int | None = None
) -> Reading:
    """Each text is a file of its own."""
    paths = []
    for at, text in enumerate(texts):
        path = folder / f"{at}.log"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        paths.append(path)
    return read(paths, batch_size=batch_size, world_size=world_size)
