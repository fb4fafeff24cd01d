"""Files that somebody else wrote, compressed or not."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from hotlap.errors import RunError


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file that may be compressed by gzip; its first bytes tell, since a pipe cannot be wound back.

    Raises:
        RunError: it cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        if file.peek(2).startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        else:
            yield file
