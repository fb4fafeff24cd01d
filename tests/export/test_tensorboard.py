"""The file of events, read by a decoder that knows nothing of the writer, and by TensorBoard where it is installed."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import STEP, recorded, steps

from hotlap.export import export, tensorboard

START = 1795253400.0

Fields = list[tuple[int, Any]]


def crc32c(data: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data: bytes) -> Iterator[bytes]:
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == masked(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked(event)
        yield event
        data = data[16 + length :]


def fields(message: bytes) -> Fields:
    found: Fields = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            found.append((key >> 3, varint()))
            continue
        length = varint() if size is None else size
        raw = message[at : at + length]
        at += length
        found.append((key >> 3, raw if size is None else struct.unpack("<d" if size == 8 else "<f", raw)[0]))
    return found


def written(tmp_path: Path, *lines: dict[str, Any]) -> tuple[Path, list[dict[int, Any]]]:
    run, directory = recorded(tmp_path, *lines)
    done = export(run, directory, "tensorboard", tmp_path / "logs")
    return done.path, [dict(fields(event)) for event in records(done.path.read_bytes())]


def values(event: dict[int, Any]) -> dict[str, dict[int, Any]]:
    found = [dict(fields(value)) for field, value in fields(event[5]) if field == 1]
    return {value[1].decode(): value for value in found}


def test_the_checksum_is_the_known_one() -> None:
    """CRC-32C of the digits is in every description of it."""
    assert crc32c(b"123456789") == 0xE3069283
    assert tensorboard._checksum(b"123456789") == struct.pack("<I", masked(b"123456789"))


def test_each_step_is_an_event(tmp_path: Path) -> None:
    """With the time at which it ended, and all its figures."""
    path, events = written(tmp_path)
    assert path.name == "events.out.tfevents.1795253400.hotlap"
    assert events[0] == {1: START, 3: b"brain.Event:2"}
    told = events[2:]
    assert [event[2] for event in told] == [*range(6)]
    assert told[1][1] == pytest.approx(START + 2 + 2 * STEP)
    found = values(told[1])
    assert found["hotlap/loss"][2] == 0.5
    assert found["hotlap/step_seconds"][2] == pytest.approx(STEP)


def test_numbers_that_four_bytes_do_not_hold(tmp_path: Path) -> None:
    """NaN stays NaN, and what is too large is infinite: TensorBoard marks both."""
    _, events = written(tmp_path, steps(3, [math.nan, 1e300, -1e300]))
    losses = [values(event)["hotlap/loss"][2] for event in events[2:]]
    assert math.isnan(losses[0])
    assert losses[1:] == [math.inf, -math.inf]


def test_what_was_found_is_text(tmp_path: Path) -> None:
    """The run, the summary and each finding, for the plugin of text; secrets are masked."""
    path, events = written(tmp_path, steps(40))
    told = values(events[1])
    assert {"hotlap/run", "hotlap/summary"} < set(told)
    assert any(name.startswith("hotlap/finding/") for name in told)
    for value in told.values():
        assert dict(fields(dict(fields(value[9]))[1]))[1] == b"text"
        tensor = dict(fields(value[8]))
        assert tensor[1] == 7
        assert tensor[8].decode()
    assert b"hunter2" not in path.read_bytes()


def test_the_same_run_again_replaces_its_file(tmp_path: Path) -> None:
    """Twice the same curve in one folder would be drawn over itself."""
    run, directory = recorded(tmp_path)
    for _ in range(2):
        done = export(run, directory, "tensorboard", tmp_path / "logs")
    assert [*(tmp_path / "logs").iterdir()] == [done.path]


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    """Where it is installed."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    path, _ = written(tmp_path, steps(6, looked=[2]))
    events = reader.EventAccumulator(str(path.parent), size_guidance={"scalars": 0})
    events.Reload()
    losses = events.Scalars("hotlap/loss")
    assert [(each.step, each.value) for each in losses] == [(i, pytest.approx(1 / (i + 1))) for i in range(6)]
    assert len(events.Scalars("hotlap/phase/backward_seconds")) == 5
    text = events.Tensors("hotlap/run")[0].tensor_proto.string_val[0].decode()
    assert "| run | profile-1 |" in text
