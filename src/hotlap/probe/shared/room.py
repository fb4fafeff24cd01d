"""How many bytes a node can spare for samples, and why no more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

#: No cache over this share of the machine's memory.
SHARE = 0.5
#: Of what is free now, and of what a control group still allows: the training wants some, too.
SHARE_OF_FREE = 0.8
GIB = 2**30


class Budget(NamedTuple):
    """In bytes; ``why`` where it is less than what was asked for."""

    size: int
    why: str | None


def budget(asked: float) -> Budget:
    """Of so many bytes those that the node can spare."""
    total, available = _memory()
    limits = [
        (SHARE * total, f"no more than half of the machine's {total / GIB:.1f} GiB is for samples"),
        (SHARE_OF_FREE * available, f"{available / GIB:.1f} GiB are free, and the training needs some"),
    ]
    allowed = _allowed()
    if allowed is not None:
        why = f"the control group allows {allowed / GIB:.1f} GiB more, and the training needs some"
        limits.append((SHARE_OF_FREE * allowed, why))
    least, why = min(limits)
    return Budget(int(asked), None) if asked <= least else Budget(int(least), why)


def spare() -> int:
    """All bytes that the node can spare."""
    return budget(math.inf).size


def _memory() -> tuple[int, int]:
    """Bytes of the machine, and those that could be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return found["MemTotal"], found["MemAvailable"]


def _allowed() -> float | None:
    """Bytes that the control group of this process may still take; None where nothing limits it."""
    return _version_2() if Path("/sys/fs/cgroup/cgroup.controllers").exists() else _version_1()


def _version_2() -> float | None:
    place = _group("0::")
    if place is None:
        return None
    base = Path("/sys/fs/cgroup")
    return _least(base, place, "memory.max", "memory.current", "inactive_file")


def _version_1() -> float | None:
    base = Path("/sys/fs/cgroup/memory")
    return _least(
        base, _group(":memory:") or "/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    )


def _group(marked: str) -> str | None:
    """The group of this process, in the line of /proc/self/cgroup that has this in it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(marked)[2] for line in lines if marked in line), None)


def _least(base: Path, group: str, limit: str, usage: str, inactive: str) -> float | None:
    """Of the group and of all that it is in."""
    place = base / group.lstrip("/")
    found = [_left(each, limit, usage, inactive) for each in (place, *place.parents) if base in (each, *each.parents)]
    return min((each for each in found if each is not None), default=None)


def _left(place: Path, limit: str, usage: str, inactive: str) -> float | None:
    try:
        most, used = float((place / limit).read_text()), float((place / usage).read_text())
        stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
        # Files that nobody reads just now are given back when memory is wanted.
        used -= float(stat.get(inactive, 0))
    except (OSError, ValueError):
        return None
    # Without a limit version 1 says a number beyond all memory, version 2 "max".
    return None if most > 2**60 else max(0.0, most - used)
