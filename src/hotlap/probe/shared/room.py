"""How many bytes a node can spare for samples, and why no more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

#: No cache over this share of the machine's memory.
SHARE = 0.5
#: Of what is free now, and of what a control group still allows: the training wants some, too.
SHARE_OF_FREE = 0.8
#: Of the memory of the machine, and of a control group, what is never taken, since a training that grows is killed.
KEPT = 0.1
GIB = 2**30


class Room(NamedTuple):
    """Of a machine or a control group, in bytes."""

    most: float
    left: float


class Budget(NamedTuple):
    """In bytes; ``why`` where it is less than what was asked for."""

    size: int
    why: str | None


def budget(asked: float) -> Budget:
    """Of so many bytes those that the node can spare."""
    machine, group = _machine(), _group_of_this()
    limits = [
        (SHARE * machine.most, f"no more than half of the machine's {machine.most / GIB:.1f} GiB is for samples"),
        (SHARE_OF_FREE * machine.left, f"{machine.left / GIB:.1f} GiB are free, and the training needs some"),
    ]
    if group is not None:
        why = f"the control group allows {group.left / GIB:.1f} GiB more, and the training needs some"
        limits.append((SHARE_OF_FREE * group.left, why))
    least, why = min(limits)
    return Budget(int(asked), None) if asked <= least else Budget(int(least), why)


def may_be_taken(size: int) -> bool:
    """Whether that leaves what is never taken: workers and the training may have grown since the budget was given."""
    return all(room is None or room.left - size >= KEPT * room.most for room in (_machine(), _group_of_this()))


def spare() -> int:
    """All bytes that the node can spare."""
    return budget(math.inf).size


def _machine() -> Room:
    """What could be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return Room(found["MemTotal"], found["MemAvailable"])


def _group_of_this() -> Room | None:
    """The control group of this process, or one that it is in, whichever leaves least; None where nothing limits it."""
    return _version_2() if Path("/sys/fs/cgroup/cgroup.controllers").exists() else _version_1()


def _version_2() -> Room | None:
    place = _group("0::")
    if place is None:
        return None
    base = Path("/sys/fs/cgroup")
    return _least(base, place, "memory.max", "memory.current", "inactive_file")


def _version_1() -> Room | None:
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


def _least(base: Path, group: str, limit: str, usage: str, inactive: str) -> Room | None:
    """Of the group and of all that it is in."""
    place = base / group.lstrip("/")
    found = [_room(each, limit, usage, inactive) for each in (place, *place.parents) if base in (each, *each.parents)]
    return min((each for each in found if each is not None), key=lambda room: room.left, default=None)


def _room(place: Path, limit: str, usage: str, inactive: str) -> Room | None:
    try:
        most, used = float((place / limit).read_text()), float((place / usage).read_text())
        stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
        # Files that nobody reads just now are given back when memory is wanted.
        used -= float(stat.get(inactive, 0))
    except (OSError, ValueError):
        return None
    # Without a limit version 1 says a number beyond all memory, version 2 "max".
    return None if most > 2**60 else Room(most, max(0.0, most - used))
