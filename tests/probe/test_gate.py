"""The gate that holds a training at the boundary of its steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotlap.probe.gate import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    os.mkfifo(tmp_path / "control")
    made = Gate(str(tmp_path))
    yield made
    if made.descriptor is not None:
        os.close(made.descriptor)


def say(gate: Gate, words: str) -> int:
    descriptor = os.open(gate.path, os.O_RDWR)
    os.write(descriptor, words.encode())
    return descriptor


def test_closed_at_first(gate: Gate) -> None:
    """A gated training stops at its first boundary."""
    assert gate.closed(0.0)


def test_opens_for_steps_and_for_time(gate: Gate) -> None:
    """It closes again when both the seconds and the steps have passed."""
    gate.go(10.0, 1.0, 2)
    assert [gate.closed(now) for now in (10.1, 10.2, 10.3, 11.0)] == [False, False, False, True]
    gate.go(20.0, 0.0, 3)
    assert [gate.closed(20.0) for _ in range(3)] == [False, False, True]


def test_words(gate: Gate) -> None:
    """Several words may arrive at once; each is heard by its own wait."""
    descriptor = say(gate, 'go 0.5 7\ngo 1 2 {"autocast": "bfloat16"}\nrun\nquit\n')
    assert gate.wait() == ("go", 0.5, 7, None)
    assert gate.wait() == ("go", 1.0, 2, {"autocast": "bfloat16"})
    assert gate.wait() == ("run", 0.0, 0, None)
    assert gate.wait() == ("quit", 0.0, 0, None)
    os.close(descriptor)


def test_the_controller_is_gone(gate: Gate) -> None:
    """A training that nobody will ever let go on ends."""
    descriptor = say(gate, "go 0.5 7\n")
    assert gate.wait()[0] == "go"
    os.close(descriptor)
    assert gate.wait()[0] == "quit"


def test_free(gate: Gate) -> None:
    """Once released, it is never closed again."""
    gate.free = True
    assert not any(gate.closed(now) for now in (0.0, 1e9))
