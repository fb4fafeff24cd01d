"""Files that somebody else wrote, compressed or not, and which are traces. Nothing heavy is imported for that."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from hotlap.errors import RunError

#: How much of a file tells whether it is a trace.
_PEEK = 1 << 20
#: Where the events of a trace begin; and a trace that is nothing but a list of them.
BEGIN = re.compile(rb'"traceEvents"\s*:\s*\[')
EVENT_LIST = re.compile(rb'\s*\[\s*\{[^{}]*"(?:ph|cat|ts)"\s*:')


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


def is_trace(path: Path) -> bool:
    """Whether a file looks like a trace of torch.profiler, by its beginning. A file that cannot be read does not."""
    try:
        with opened(path) as file:
            start = file.read(_PEEK)
    except (RunError, OSError, EOFError, zlib.error):
        return False
    if EVENT_LIST.match(start):
        return True
    return start.lstrip().startswith(b"{") and (BEGIN.search(start) is not None or b'"deviceProperties"' in start)
