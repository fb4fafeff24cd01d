"""Keeps the user's files as they are while a trial runs: what the script writes goes to an overlay of its own.

    script ──open, os.*, pathlib, shutil, torch.save, sqlite3──> overlay ──> RUN_DIR/files/<absolute path>
                                                                        └──> the user's file, for reading

The script sees its own effects: it reads back what it wrote, lists what it made, misses what it deleted.
An audit hook stands behind the redirection: a write of Python's that would reach a user's file after all is
refused with ``PermissionError``.

Written for real: the run directory, the directory for temporary files, /dev and /proc, and caches that are
nobody's work (``_CACHES``). When the training was started inside one of them, what is below its working
directory is kept all the same.

Limits: programs that are not Python, Python started with ``-S``, ``-I`` or ``-E``, and libraries that open
files in C other than those of ``contain_libraries`` are neither redirected nor noticed. Modules that the script
writes cannot be imported from the overlay. Network services (trackers, uploads) are not held back here.
"""

from __future__ import annotations

import errno
import json
import os
import posix
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hotlap.probe.overlay import Overlay

_CACHES = (
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TORCH_HOME",
    "HF_HOME",
    "CUDA_CACHE_PATH",
    "NUMBA_CACHE_DIR",
    "XDG_CACHE_HOME",
)
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

#: Audit events of changes to files, with the places of the paths in their arguments.
_CHANGES = {
    "open": (0,),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.utime": (0,),
    "os.setxattr": (0,),
    "os.removexattr": (0,),
    "socket.bind": (1,),
    "sqlite3.connect": (0,),
}


def install(directory: str, run_dir: str) -> None:
    """Redirect this process's writes below ``directory``, from now on and for good. Without it no script may run."""
    try:
        with open(os.path.join(run_dir, "probe.json")) as file:
            home = json.load(file).get("cwd") or os.getcwd()
        real = [os.path.realpath(path) for path in (run_dir, directory, *_written_for_real())]
        containment = Containment(Overlay(os.path.realpath(directory), real, ("/", os.path.realpath(home))))
        # Importing the user's modules would leave __pycache__ directories beside them.
        sys.dont_write_bytecode = True

        from hotlap.probe import contain_functions, contain_libraries

        contain_functions.install(containment)
        sys.addaudithook(containment.refuse)
        contain_libraries.install(containment)
    except BaseException as error:
        print(f"hotlap: the script was not started, its files could not be kept safe: {error!r}", file=sys.stderr)
        posix._exit(1)


def _written_for_real() -> list[str]:
    temporary = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.path.isdir(os.environ.get(name, ""))]
    home = os.path.expanduser("~")
    caches = [os.path.join(home, name) for name in (".cache", ".triton", ".nv")]
    return [(temporary or ["/tmp"])[0], *caches, *(os.environ[name] for name in _CACHES if os.environ.get(name))]


class Containment:
    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.inside = threading.local()

    # paths

    def virtual(self, path: Any, dir_fd: int | None = None, follow: bool = True) -> str:
        base = None
        if dir_fd is not None and dir_fd != -1:
            base = self.overlay.seen_as(posix.readlink(f"/proc/self/fd/{dir_fd}"))
        return self.overlay.resolve(os.fsdecode(path), follow, base)

    def to_read(self, path: Any) -> str:
        """Where a library written in C finds the file that the script calls ``path``."""
        return self.overlay.where(self._found(path))

    def to_change(self, path: Any, keep: bool = True) -> str:
        """Where a library written in C may write the file that the script calls ``path``."""
        return self.overlay.changeable(self._found(path), keep)

    def _found(self, path: Any) -> str:
        """For a path that leads nowhere, one that leads nowhere either: the library has its own error for that."""
        try:
            return self.virtual(path)
        except (FileNotFoundError, NotADirectoryError):
            return self.overlay.upper + os.path.abspath(os.fsdecode(path))

    def refuse(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook: lets no change through to a file that must stay as it is."""
        places = _CHANGES.get(event)
        if places is None or getattr(self.inside, "allowed", False):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITE_FLAGS):
            return
        for place in places:
            path = arguments[place]
            if not isinstance(path, (str, bytes, os.PathLike)):
                continue  # a descriptor, or an address of another family
            text = os.fsdecode(path)
            if text in ("", ":memory:") or "\0" in text or text.startswith(self.overlay.upper + "/"):
                continue
            if self.overlay.keeps(self.virtual(text)):
                raise PermissionError(
                    errno.EACCES,
                    f"hotlap leaves your files as they are in a trial, and has no way to redirect this ({event})",
                    text,
                )

    @contextmanager
    def trusted(self, trust: bool = True) -> Iterator[None]:
        """Let changes through in this thread: the path was redirected, or is one that nothing can be written to."""
        before = getattr(self.inside, "allowed", False)
        self.inside.allowed = trust
        try:
            yield
        finally:
            self.inside.allowed = before
