"""Appends whole lines to ``steps.jsonl``, flushed a few times a second, never in the way of the training."""

from __future__ import annotations

import json
import os
from typing import Any

#: In nanoseconds, as all times of the recording.
FLUSH_EVERY = 250_000_000


class Writer:
    """One file per process that trains. A full disk ends the recording, not the training."""

    def __init__(self, path: str) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made, above all because another process already writes this record.
        """
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.lines: list[str] = []
        self.flushed = 0
        self.failed = False

    def step(
        self,
        index: int,
        t: int,
        wall: int,
        phases: str,
        micro_batches: int,
        samples: int | None,
        loss: float | None,
        paused: int,
        looked: bool = False,
    ) -> None:
        """Times are nanoseconds, written as seconds; ``phases`` is the inside of that JSON object."""
        extra = "" if samples is None else f',"samples":{samples}'
        if loss is not None:
            # NaN and infinities are no JSON numbers; the reader turns the words back.
            extra += f',"loss":{loss!r}' if loss - loss == 0 else f',"loss":"{loss!r}"'
        if paused:
            extra += f',"paused":{paused}e-9'
        if looked:
            extra += ',"looked":true'
        self.lines.append(
            f'{{"k":"step","i":{index},"t":{t}e-9,"wall":{wall}e-9,"phases":{{{phases}}},'
            f'"micro_batches":{micro_batches}{extra}}}'
        )

    def line(self, kind: str, **fields: Any) -> None:
        self.lines.append(json.dumps({"k": kind, **fields}))

    def flush(self, now: int) -> None:
        self.flushed = now
        lines, self.lines = self.lines, []
        if not lines or self.failed:
            return
        data = ("\n".join(lines) + "\n").encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            self.failed = True
