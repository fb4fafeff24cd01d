"""Holds the training at a step boundary until the controller says go on.

The controller writes one line into the FIFO ``control``: ``go SECONDS STEPS`` (until both have passed),
``run`` (no more gates) or ``quit``. ``go`` may be followed by the settings of the levers for what comes, as JSON. That
the training waits is said in ``steps.jsonl``.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple


class Word(NamedTuple):
    """What the controller says."""

    word: str
    seconds: float = 0.0
    steps: int = 0
    #: None: as they are.
    settings: dict[str, Any] | None = None


class Gate:
    def __init__(self, run_dir: str) -> None:
        self.path = os.path.join(run_dir, "control")
        self.buffer = b""
        self.descriptor: int | None = None
        self.open_until = 0.0
        self.steps_left = 0
        self.free = False

    def closed(self, now: float) -> bool:
        """Whether the training has to wait at this boundary."""
        if self.free:
            return False
        self.steps_left -= 1
        return self.steps_left <= 0 and now >= self.open_until

    def wait(self) -> Word:
        """Block until the controller speaks. ``quit`` when it is gone."""
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        while b"\n" not in self.buffer:
            received = os.read(self.descriptor, 4096)
            if not received:
                return Word("quit")
            self.buffer += received
        line, _, self.buffer = self.buffer.partition(b"\n")
        words = line.decode().split(maxsplit=3)
        if words[0] == "go":
            return Word("go", float(words[1]), int(words[2]), json.loads(words[3]) if len(words) > 3 else None)
        return Word(words[0])

    def go(self, now: float, seconds: float, steps: int) -> None:
        self.open_until = now + seconds
        self.steps_left = steps
