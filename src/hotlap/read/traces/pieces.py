"""The events of a Chrome trace in pieces, without holding the file.

    bytes ──> {"deviceProperties": ..., "traceEvents": [ {...}, {...},   {...}, {...} ], "traceName": ... }
              └─ header ──────────────────────────────┘ └─ piece ────┘ └─ piece ─────────────────────────┘

A piece is cut where ``}, {`` stands. Whether that is between two events is not guessed: what is left of a cut decodes
as a list of events if and only if it is. What does not decode at all (Kineto writes ``inf`` and control characters
here and there) is taken apart event by event.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.read.opening import BEGIN, EVENT_LIST, opened

#: Bytes that are decoded at once: large enough to cost nothing, small beside the arrays that come of them.
PIECE = 8 << 20
#: The longest header: kineto writes the ranks of every process group into it.
_HEADER = 64 << 20
#: The longest text without a border between events; what is behind the events may be such a text.
_BORDERLESS = 512 << 20
#: Borders that are tried as they stand before a piece is taken apart.
_TRIES = 4

_BORDER = re.compile(rb"\}\s*,\s*(?=\{)")
#: Numbers that JSON has not, as C++ prints them, and characters that a string may not hold.
_NOT_JSON = re.compile(rb"(?<=[:\[,\s])[-+]?(?:inf(?:inity)?|nan)(?=\s*[,\]}])", re.IGNORECASE)
_CONTROL = bytes(c if c >= 32 or c in (9, 10, 13) else 32 for c in range(256))


class Args(msgspec.Struct, gc=False):
    """Numbers, in the usual case: versions and vendors differ, so each is taken as it comes."""

    correlation: Any = None
    device: Any = None
    stream: Any = None
    bytes: Any = None
    #: Of ``[memory]``: where it is, and what was in use then.
    device_type: Any = msgspec.field(name="Device Type", default=None)
    device_id: Any = msgspec.field(name="Device Id", default=None)
    allocated: Any = msgspec.field(name="Total Allocated", default=None)
    reserved: Any = msgspec.field(name="Total Reserved", default=None)


class Event(msgspec.Struct, gc=False):
    """What is read of an event; times are microseconds."""

    ph: str | None = None
    cat: str | None = None
    name: str | None = None
    pid: int | str | None = None
    tid: int | str | None = None
    ts: float | None = None
    dur: float | None = None
    args: Args | None = None


class _Last(msgspec.Struct):
    """The last events, and what stands behind them."""

    traceEvents: list[Event]  # noqa: N815 (as it stands in the file)
    deviceProperties: Any = None  # noqa: N815
    distributedInfo: Any = None  # noqa: N815


_decode = msgspec.json.Decoder(list[Event]).decode
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Pieces:
    """Iterate over the lists of events of a file. ``header`` and ``unreadable`` are whole afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: What stands beside the events.
        self.header: dict[str, Any] = {}
        #: Events that no decoder understands.
        self.unreadable = 0
        #: Bytes of the trace, unpacked.
        self.bytes = 0

    def __iter__(self) -> Iterator[list[Event]]:
        with opened(self.path) as file:
            try:
                yield from self._pieces(file)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise RunError(f"{self.path} is a damaged or cut gzip file ({error}): {_AGAIN}") from None
            except OSError as error:
                raise RunError(f"cannot read {self.path}: {error.strerror or error}") from None

    def _pieces(self, file: BufferedIOBase) -> Iterator[list[Event]]:
        text = self._begin(file)
        least = PIECE
        while True:
            chunk = self._more(file, max(PIECE, least - len(text)))
            if not chunk:
                break
            text += chunk
            if len(text) < least:
                continue
            events, text, ended = self._whole(text)
            if events:
                yield events
            if ended:
                self._tail(text, file)
                return
            least = PIECE if events else 2 * len(text)
            if least > _BORDERLESS:
                raise RunError(f"{self.path} holds no border between events for {len(text) >> 20} MiB: {_AGAIN}")
        try:
            last = msgspec.json.decode(b'{"traceEvents":[' + text, type=_Last)
            self.header |= {name: value for name, value in msgspec.structs.asdict(last).items() if value is not None}
            yield self.header.pop("traceEvents")
            return
        except _UNDECODABLE:
            pass
        events, rest, ended = self._apart(text)
        if not ended:
            raise RunError(f"{self.path} ends in the middle of its events, cut off or still being written: {_AGAIN}")
        if events:
            yield events
        self._tail(rest, file)

    def _begin(self, file: BufferedIOBase) -> bytes:
        """Read the header; return what is there of the events already."""
        text = b""
        while len(text) < _HEADER:
            chunk = self._more(file, PIECE)
            text += chunk
            if EVENT_LIST.match(text):
                return text[text.index(b"[") + 1 :]
            begin = BEGIN.search(text)
            if begin:
                self.header = _object(text[: begin.end()] + b"]}")
                return text[begin.end() :]
            if not chunk:
                break
        if not text.strip():
            raise RunError(f"{self.path} is empty")
        raise RunError(f'{self.path} is no trace of torch.profiler: it has no "traceEvents"')

    def _more(self, file: BufferedIOBase, count: int) -> bytes:
        chunk = file.read(count)
        self.bytes += len(chunk)
        return chunk

    def _whole(self, text: bytes) -> tuple[list[Event], bytes, bool]:
        """Return the events up to the last border, what is left, and whether the list has ended there."""
        borders = [each.end() for each in _BORDER.finditer(text, max(0, len(text) - (1 << 20)))]
        for border in reversed(borders[-_TRIES:]):
            left = text[: text.rindex(b",", 0, border)]
            for clean in (bytes, _cleaned):
                try:
                    return _decode(b"[" + clean(left) + b"]"), text[border:], False
                except _UNDECODABLE:
                    pass
        return self._apart(text)

    def _apart(self, text: bytes) -> tuple[list[Event], bytes, bool]:
        """Do the same event by event, and leave out what is none."""
        words = _cleaned(text).decode(errors="replace")
        scan = json.JSONDecoder(strict=False).raw_decode
        events: list[Event] = []
        at, end, kept, failed = 0, len(words), 0, 0
        while True:
            at = _skip(words, at)
            if at >= end:
                break
            if words[at] == "]":
                self.unreadable += failed
                return events, words[at + 1 :].encode(errors="replace"), True
            try:
                found, at = scan(words, at)
            except (ValueError, RecursionError):
                border = words.find("{", _after_event(words, at))
                if border < 0:
                    break
                # What cannot be read here may be whole with more text; only what is behind it can tell.
                failed, at = failed + 1, border
                continue
            at = _skip(words, at)
            if at < end and words[at] in ",]":
                self.unreadable += failed
                failed, kept = 0, at + (words[at] == ",")
                event = _event(found)
                if event is None:
                    self.unreadable += 1
                else:
                    events.append(event)
                at = kept
        return events, words[kept:].encode(errors="replace"), False

    def _tail(self, rest: bytes, file: BufferedIOBase) -> None:
        """Read what stands behind the events, where it is not too long."""
        rest += self._more(file, PIECE)
        rest = rest.strip().removeprefix(b",")
        while self._more(file, PIECE):  # to the end, so that a damaged file is noticed
            pass
        if rest and rest != b"}":
            self.header |= _object(b"{" + rest)


_AGAIN = "part of a trace gives wrong figures, so write or copy it again"


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(_cleaned(text).decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _cleaned(text: bytes) -> bytes:
    return _NOT_JSON.sub(b"null", text.translate(_CONTROL))


def _skip(words: str, at: int) -> int:
    while at < len(words) and words[at] in " \t\r\n":
        at += 1
    return at


_NEXT = re.compile(r"\}\s*,\s*(?=\{)")


def _after_event(words: str, at: int) -> int:
    found = _NEXT.search(words, at)
    return found.end() if found else len(words)


def _event(found: Any) -> Event | None:
    """Return the event of an object of any kind, or None where it is none."""
    if not isinstance(found, dict):
        return None
    args = found.get("args")
    return Event(
        ph=_text(found.get("ph")),
        cat=_text(found.get("cat")),
        name=_text(found.get("name")),
        pid=_label(found.get("pid")),
        tid=_label(found.get("tid")),
        ts=_number(found.get("ts")),
        dur=_number(found.get("dur")),
        args=msgspec.convert(args, Args) if isinstance(args, dict) else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _label(value: Any) -> int | str | None:
    return value if isinstance(value, (int, str)) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
