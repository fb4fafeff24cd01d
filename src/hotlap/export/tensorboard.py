"""A run as TensorBoard reads it: a file of events, written without TensorBoard.

    file     record, record, ...
    record   length (8 bytes), its checksum (4), an event, its checksum (4)
    event    wall time, step, and a value for each name: a message in the encoding of protocol buffers

Each step is an event with all its figures; what was found is text. The layout is that of TensorFlow's ``event.proto``
and ``summary.proto``, of which a few fields are enough.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from hotlap.export.described import about, began, findings, headline
from hotlap.export.scalars import points
from hotlap.records import Diagnosis, Run

_TEXT = 7  # DT_STRING


def file_name(run: Run) -> str:
    """Return the name by which TensorBoard finds the file; it is the same for the same run."""
    return f"events.out.tfevents.{int(began(run) or 0)}.hotlap"


def write(run: Run, diagnosis: Diagnosis, file: BinaryIO) -> None:
    start = began(run) or 0.0
    _record(file, _double(1, start) + _bytes(3, b"brain.Event:2"))
    described = "\n".join(f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in about(run).items())
    told = {"hotlap/run": f"| | |\n|---|---|\n{described}\n"}
    told["hotlap/summary"] = headline(run, diagnosis)
    told |= {f"hotlap/finding/{code}": text for code, text in findings(diagnosis).items()}
    _record(file, _event(start, 0, (_text(name, text) for name, text in told.items())))
    for step, t, values in points(run):
        _record(file, _event(start + t - run.info.started, step, _scalars(values)))


def _event(wall: float, step: int, values: Iterable[bytes]) -> bytes:
    summary = b"".join(_bytes(1, value) for value in values)
    return _double(1, wall) + _number(2, step) + _bytes(5, summary)


def _scalars(values: Mapping[str, float]) -> Iterable[bytes]:
    return (_bytes(1, name.encode()) + _float(2, value) for name, value in values.items())


def _text(name: str, markdown: str) -> bytes:
    plugin = _bytes(1, b"text")
    tensor = _number(1, _TEXT) + _bytes(2, b"") + _bytes(8, markdown.encode(errors="replace"))
    return _bytes(1, name.encode()) + _bytes(9, _bytes(1, plugin)) + _bytes(8, tensor)


def _record(file: BinaryIO, event: bytes) -> None:
    length = struct.pack("<Q", len(event))
    file.write(length + _checksum(length) + event + _checksum(event))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(max(0, value))


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    try:
        return _varint(field << 3 | 5) + struct.pack("<f", value)
    except OverflowError:  # beyond what four bytes hold
        return _varint(field << 3 | 5) + struct.pack("<f", math.copysign(math.inf, value))


def _table() -> list[int]:
    """CRC-32C (Castagnoli) of each byte; the polynomial is written with its lowest power first."""
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return found


_CRC = _table()


def _checksum(data: bytes) -> bytes:
    """Of the masked kind that these files hold: a checksum of data with checksums in it would be weak."""
    crc = 0xFFFFFFFF
    table = _CRC
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
