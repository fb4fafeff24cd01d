"""From files to text that the formats can be looked for in: whole lines, in blocks of about a megabyte.

    bytes -> UTF-16 and gzip undone -> colours and cursor moves taken out -> \\r is \\n -> blocks that end with a line

Nothing is ever in memory but one block. A line that is longer than a block is cut.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from typing import Protocol

from hotlap.errors import RunError

BLOCK = 1 << 20

#: Colours, cursor moves and titles of terminals (ECMA-48), and the backspaces of old progress bars.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x08")
#: A number that touches the end of a file may go on.
_LAST_NUMBER = re.compile(rb"[-+]?[\d.,:]+(?:[eE][-+]?\d*)?[ \t]*\Z")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Source(Protocol):
    """A file that gives what is there."""

    def read1(self, size: int, /) -> bytes: ...


class Text:
    """The lines of one file, with what was found odd about it."""

    def __init__(self, file: Source, name: str) -> None:
        self._file = file
        self._name = name
        self.bytes = 0
        self.lines = 0
        self.notes: list[str] = []

    def blocks(self) -> Iterator[bytes]:
        """Yield text that consists of whole lines, without escapes."""
        rest = b""
        for raw in self._decoded():
            text = rest + raw
            end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            if not end and len(text) < 4 * BLOCK:
                rest = text
                continue
            end = end or len(text)
            rest = text[end:]
            yield self._cleaned(text[:end])
        if rest:
            yield self._cleaned(self._without_last_number(rest) + b"\n")

    def _cleaned(self, text: bytes) -> bytes:
        if b"\x1b" in text or b"\x08" in text:
            text = _ESCAPES.sub(b"", text)
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.lines += text.count(b"\n")
        return text

    def _without_last_number(self, line: bytes) -> bytes:
        match = _LAST_NUMBER.search(line[-64:])
        if match is None:
            return line
        self.notes.append("the last line has no end, so the number at its end was left out: it may be cut off")
        return line[: len(line) - (match.end() - match.start())]

    def _decoded(self) -> Iterator[bytes]:
        blocks = self._read()
        first = next(blocks, b"")
        encoding = _UTF16.get(first[:2])
        if encoding is None:
            yield first.removeprefix(codecs.BOM_UTF8)
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        yield decoder.decode(first[2:]).encode(errors="replace")
        for block in blocks:
            yield decoder.decode(block).encode(errors="replace")
        yield decoder.decode(b"", final=True).encode(errors="replace")

    def _read(self) -> Iterator[bytes]:
        """Yield what is in the file about a megabyte at a time, and of a cut gzip file what is there."""
        block = b""
        while True:
            try:
                more = self._file.read1(BLOCK)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                self.notes.append("the compressed file is cut off or damaged: what is before that was read")
                more = b""
            except OSError as error:
                raise RunError(f"cannot read {self._name}: {error.strerror or error}") from error
            self.bytes += len(more)
            block = block + more if block else more
            if not more or len(block) >= BLOCK:
                if block:
                    yield block
                block = b""
            if not more:
                return
