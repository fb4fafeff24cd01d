"""What /proc says of a process, empty or None where there is none or it may not be asked."""

from __future__ import annotations

import os
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    parent: int
    #: Of a processor, user's and kernel's.
    seconds: float
    #: In ticks since the machine started: with the number it says which process this is.
    began: int


def said(pid: int, file: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{file}", "rb") as opened:
            return opened.read()
    except OSError:
        return b""


def variable(pid: int, name: str) -> bytes | None:
    """Of its environment, as it was when its program began."""
    for each in said(pid, "environ").split(b"\0"):
        if each.startswith(name.encode() + b"="):
            return each.partition(b"=")[2]
    return None


def stat(pid: int, file: str = "stat") -> Stat | None:
    """None for a process that has ended, be its parent told or not."""
    words = said(pid, file).rpartition(b")")[2].split()
    if len(words) < 20 or words[0] in (b"Z", b"X"):
        return None
    return Stat(parent=int(words[1]), seconds=(int(words[11]) + int(words[12])) / _TICKS, began=int(words[19]))


def ancestors(pid: int) -> list[int]:
    """Its parent first."""
    found: list[int] = []
    while (own := stat(pid)) is not None and own.parent > 0:
        pid = own.parent
        found.append(pid)
    return found
