"""Appends whole lines to ``steps.jsonl``, flushed a few times a second, never in the way of the training."""

from __future__ import annotations

import json
import os
from typing import Any


class Writer:
    """One file per process that trains. A full disk ends the recording, not the training."""

    def __init__(self, path: str) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made, above all because another process already writes this record.
        """
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.lines: list[str] = []
        self.failed = False

    def steps(
        self,
        first: int,
        plan: int,
        times: list[int],
        samples: list[int | None],
        losses: list[float | None],
        looked: list[int] | None = None,
    ) -> None:
        """Consecutive steps of one plan. ``times``: nanoseconds of all their marks, and of the end."""
        self.lines.append(
            f'{{"k":"steps","i":{first},"plan":{plan},"times":{times},"samples":{_words(samples)},'
            f'"losses":{_words(losses)}' + (f',"looked":{looked}}}' if looked else "}")
        )

    def line(self, kind: str, **fields: Any) -> None:
        self.lines.append(json.dumps({"k": kind, **fields}))

    def flush(self) -> None:
        lines, self.lines = self.lines, []
        if not lines or self.failed:
            return
        data = ("\n".join(lines) + "\n").encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            self.failed = True


def _words(values: list[Any]) -> str:
    """As JSON. NaN and infinities are no JSON numbers: the reader turns the words back."""
    try:
        total = sum(values)
        if total - total == 0:
            return repr(values)
    except TypeError:  # some are None
        pass
    return json.dumps([value if value is None or value - value == 0 else repr(value) for value in values])
