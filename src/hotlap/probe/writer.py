"""Appends whole lines to ``steps.jsonl``, flushed a few times a second, never in the way of the training."""

from __future__ import annotations

import json
import os
from typing import Any

FLUSH_SECONDS = 0.25


class Writer:
    """One file per process that trains. A full disk ends the recording, not the training."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self.flushed = 0.0
        self.descriptor: int | None = None
        self.failed = False
        self.pid = os.getpid()

    def step(
        self,
        index: int,
        t: float,
        wall: float,
        phases: dict[str, float],
        micro_batches: int,
        samples: int | None,
        loss: float | None,
        paused: float,
    ) -> None:
        inner = ",".join([f'"{phase}":{seconds:.7f}' for phase, seconds in phases.items()])
        extra = "" if samples is None else f',"samples":{samples}'
        if loss is not None:
            # NaN and infinities are no JSON numbers; the reader turns the words back.
            extra += f',"loss":{loss!r}' if loss - loss == 0 else f',"loss":"{loss!r}"'
        if paused:
            extra += f',"paused":{paused:.6f}'
        self.lines.append(
            f'{{"k":"step","i":{index},"t":{t:.7f},"wall":{wall:.7f},"phases":{{{inner}}},"micro_batches":{micro_batches}{extra}}}'
        )

    def line(self, kind: str, **fields: Any) -> None:
        self.lines.append(json.dumps({"k": kind, **fields}))

    def flush(self, now: float) -> None:
        self.flushed = now
        if not self.lines or self.failed or os.getpid() != self.pid:
            self.lines.clear()
            return
        data = ("\n".join(self.lines) + "\n").encode()
        self.lines.clear()
        try:
            if self.descriptor is None:
                self.descriptor = _os_open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            self.failed = True


#: Taken before a containment may replace it.
_os_open = os.open
