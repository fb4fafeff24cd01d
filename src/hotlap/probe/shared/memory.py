"""Memory that all processes of a node share, workers and ranks, and that is gone with the last of them.

    rank 0 ── memfd "hotlap-KEY" ── forked and spawned workers      attach to their parent's, by /proc
       └────── rank 1, 2, ...       ── their workers                find it among the processes of this user

Nothing has a name in a file system, so nothing is left after any death. Locks are fcntl byte ranges: the kernel takes
them from a process that dies, even of SIGKILL.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hotlap.probe.shared.orphans import end_with_the_training

#: Seconds that a rank waits for one that is making the memory.
PATIENCE = 60.0


class NoMemory(Exception):
    """The node has no room for what was asked."""


class SharedMemory:
    """A range of bytes, mapped whole; pages are taken as ``reserve`` asks for them.

    One process has one of it: closing any descriptor of the memory would give back all locks that the process holds.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        # The mapping stays while an array lies in it. First: there may be no address space for it.
        weakref.finalize(self, os.close, descriptor)
        self.map = mmap.mmap(descriptor, size)
        end_with_the_training()

    @property
    def identity(self) -> tuple[int, int]:
        return identity(self.path)

    @classmethod
    def create(cls, name: str, size: int) -> SharedMemory:
        descriptor = os.memfd_create(f"hotlap-{name}", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        return cls(descriptor, size)

    @classmethod
    def find(cls, name: str, patience: float) -> SharedMemory:
        """That of another process of this user.

        Raises ``NoMemory`` if none has made it in so many seconds.
        """
        until = time.monotonic() + patience
        while True:
            for path in _descriptors(name):
                with suppress(OSError):
                    return cls.attach(path)
            if time.monotonic() > until:
                raise NoMemory(f"no process of this node made the memory {name} in {patience:.0f} s")
            time.sleep(0.05)

    @classmethod
    def attach(cls, path: str) -> SharedMemory:
        """By the path of another process's descriptor. Raises ``OSError`` where that process is gone."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size = os.fstat(descriptor).st_size
        if not size:
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "not made yet", path)
        return cls(descriptor, size)

    @property
    def path(self) -> str:
        """By which others attach, while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def reserve(self, begin: int, size: int) -> None:
        """Take the pages of this range now, so that writing to them cannot fail later.

        Raises ``NoMemory``.
        """
        try:
            os.posix_fallocate(self.descriptor, begin, size)
        except OSError as error:
            raise NoMemory(f"the node has no {size} bytes more ({error.strerror})") from None

    @contextmanager
    def locked(self, place: int, *, wait: bool = True) -> Iterator[bool]:
        """Alone among processes at this place, which may lie anywhere; gives whether it is.

        Without ``wait`` it may not be. With it, it is not only where two processes would wait for each other.
        """
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, place)


def identity(path: str) -> tuple[int, int]:
    """What tells one memory from another, by the path of a descriptor."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def first_to_say(name: str) -> socket.socket | None:
    """A sign that no other process has made memory of this name and still has it, for as long as it is not closed."""
    sign = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # In no file system, and gone with the process.
        sign.bind(f"\0hotlap-{name}")
    except OSError:
        sign.close()
        return None
    return sign


def _descriptors(name: str) -> Iterator[str]:
    """Paths of the descriptors of other processes that show this memory."""
    wanted = f"/memfd:hotlap-{name} (deleted)"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with suppress(OSError), os.scandir(process / "fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    if os.readlink(entry.path) == wanted:
                        yield entry.path
