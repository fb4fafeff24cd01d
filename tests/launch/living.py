"""Which processes that carry a mark in their environment still live."""

from __future__ import annotations

import os
import time
from pathlib import Path


def processes(token: str) -> list[int]:
    """Living processes that were started with this token in their environment."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            dead = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if not dead and token.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def gone(token: str) -> bool:
    """Wait until no process with the token lives; False when some still do after a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not processes(token):
            return True
        time.sleep(0.02)
    return False
