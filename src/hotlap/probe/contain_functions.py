"""Python's own functions on files, each as before but in the merged view of a trial."""

from __future__ import annotations

import builtins
import errno
import functools
import io
import os
import posix
import sys
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, TypeVar

from hotlap.probe.contain import WRITE_FLAGS, Containment
from hotlap.probe.overlay import failure

Result = TypeVar("Result")

_TMPFILE = getattr(os, "O_TMPFILE", 0)


def install(containment: Containment) -> None:
    Functions(containment).replace()


class Functions:
    def __init__(self, containment: Containment) -> None:
        self.overlay = containment.overlay
        self.virtual = containment.virtual
        self.trusted = containment.trusted

    def replace(self) -> None:
        self._replace_open()
        for name in ("stat", "access", "statvfs", "pathconf", "getxattr", "listxattr", "chdir"):
            self._replace(name, self._reading(name))
        for name in ("lstat", "readlink"):
            self._replace(name, self._reading(name, follows=False))
        for name in ("chmod", "chown", "utime", "truncate", "setxattr", "removexattr"):
            self._replace(name, self._changing(name))
        self._replace("lchown", self._changing("lchown", follows=False))
        self._replace("fchmod", lambda fd, mode: os.chmod(fd, mode))
        self._replace("fchown", lambda fd, uid, gid: os.chown(fd, uid, gid))
        for name in ("mkdir", "mkfifo", "mknod"):
            self._replace(name, self._making(name))
        for name in ("unlink", "remove"):
            self._replace(name, self._removing(self.overlay.remove))
        self._replace("rmdir", self._removing(self.overlay.remove_directory))
        for name in ("rename", "replace"):
            self._replace(name, self._rename)
        self._replace("link", self._link)
        self._replace("symlink", self._symlink)
        self._replace("listdir", self._listdir)
        self._replace("scandir", self._scandir)
        self._replace("getcwd", lambda: self.overlay.seen_as(posix.getcwd()))
        self._replace("getcwdb", lambda: os.fsencode(self.overlay.seen_as(posix.getcwd())))
        if sys.version_info < (3, 11):
            _replace_in_pathlib()

    def _replace(self, name: str, function: Callable[..., Any]) -> None:
        original = getattr(posix, name, None)
        if original is None:
            return
        # A method is one object for several names: each gets a function of its own.
        replacement = functools.wraps(original)(_named(function) if isinstance(function, MethodType) else function)
        replacement.__module__ = "os"
        setattr(os, name, replacement)
        for support in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if original in support:
                support.add(replacement)

    def _replace_open(self) -> None:
        original, overlay = io.open, self.overlay

        def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if not flags & WRITE_FLAGS:
                if not overlay.touched():
                    return posix.open(path, flags, mode, dir_fd=dir_fd)
                found = self.virtual(path, dir_fd, not flags & os.O_NOFOLLOW)
                return _renamed(posix.open, path, overlay.where(found), flags, mode)
            found = self.virtual(path, dir_fd, not flags & (os.O_NOFOLLOW | os.O_EXCL))
            status = overlay.status(found)
            if _TMPFILE and flags & _TMPFILE == _TMPFILE:
                physical = overlay.changeable(found)
            elif status is None:
                physical = overlay.place(found) if flags & os.O_CREAT else overlay.where(found)
            elif flags & os.O_EXCL and flags & os.O_CREAT:
                raise _as_given(failure(errno.EEXIST, found), path)
            else:
                physical = overlay.changeable(found, keep=not flags & os.O_TRUNC)
            with self.trusted():  # what is left to go to a kept path is a pipe, or refused by the system
                return _renamed(posix.open, path, physical, flags, mode)

        def plain(path: Any, flags: int) -> int:
            return os_open(path, flags, 0o666)

        def open_(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Callable[[Any, int], int] | None = None,
        ) -> Any:
            writes = isinstance(mode, str) and not set(mode).isdisjoint("wax+")
            if isinstance(file, int) or (not writes and opener is None and not overlay.touched()):
                return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
            chosen = opener or plain

            def really(path: Any, flags: int) -> int:
                with self.trusted(False):
                    return chosen(path, flags)

            # The event is raised with the name that the script gave; what is opened is decided in os_open.
            with self.trusted():
                return original(file, mode, buffering, encoding, errors, newline, closefd, really)

        self._replace("open", os_open)
        builtins.open = io.open = functools.wraps(original)(open_)

    def _reading(self, name: str, follows: bool = True) -> Callable[..., Any]:
        original, overlay = getattr(posix, name, None), self.overlay

        def read(path: Any = ".", *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            assert original is not None
            if isinstance(path, int) or not overlay.touched():
                if dir_fd is not None:
                    options["dir_fd"] = dir_fd
                return original(path, *args, **options)
            found = self.virtual(path, dir_fd, follows and options.get("follow_symlinks", True))
            result = _renamed(original, path, overlay.where(found), *args, **options)
            return os.fsencode(result) if name == "readlink" and isinstance(path, bytes) else result

        return read

    def _changing(self, name: str, follows: bool = True) -> Callable[..., Any]:
        original, overlay = getattr(posix, name, None), self.overlay

        def change(path: Any, *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            assert original is not None
            if isinstance(path, int):
                # A file that was opened for reading may still be changed through its descriptor.
                physical = posix.readlink(f"/proc/self/fd/{path}")
                if not physical.startswith("/") or not overlay.keeps(physical):
                    return original(path, *args, **options)
                path = physical
            found = self.virtual(path, dir_fd, follows and options.get("follow_symlinks", True))
            physical = overlay.changeable(found, force=name != "truncate")
            return _renamed(original, path, physical, *args, **options)

        return change

    def _making(self, name: str) -> Callable[..., Any]:
        original, overlay = getattr(posix, name), self.overlay

        def make(path: Any, *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            found = self.virtual(path, dir_fd, follow=False)
            if overlay.status(found) is not None:
                raise _as_given(failure(errno.EEXIST, found), path)
            return _renamed(original, path, overlay.place(found), *args, **options)

        return make

    def _removing(self, action: Callable[[str], None]) -> Callable[..., None]:
        def remove(path: Any, *, dir_fd: int | None = None) -> None:
            _renamed(action, path, self.virtual(path, dir_fd, follow=False))

        return remove

    def _rename(self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        source, target = self.virtual(src, src_dir_fd, follow=False), self.virtual(dst, dst_dir_fd, follow=False)
        try:
            self.overlay.move(source, target)
        except OSError as error:
            error.filename, error.filename2 = src, dst
            raise

    def _link(
        self,
        src: Any,
        dst: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        target = self.virtual(dst, dst_dir_fd, follow=False)
        if self.overlay.status(target) is not None:
            raise _as_given(failure(errno.EEXIST, target), dst)
        # Never a second name for a file of the user's: writing to it would change the first.
        source = self.overlay.changeable(self.virtual(src, src_dir_fd, follow_symlinks), force=True)
        _renamed(posix.link, src, source, self.overlay.place(target), follow_symlinks=False)

    def _symlink(self, src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
        link = self.virtual(dst, dir_fd, follow=False)
        if self.overlay.status(link) is not None:
            raise _as_given(failure(errno.EEXIST, link), dst)
        _renamed(functools.partial(posix.symlink, os.fsdecode(src)), dst, self.overlay.place(link))

    def _listdir(self, path: Any = None) -> list[Any]:
        given = "." if path is None else path
        if not self.overlay.touched():
            return posix.listdir(given)
        found = self.virtual(*((".", given) if isinstance(given, int) else (given,)))
        names = _renamed(self.overlay.names, given, found)
        return [os.fsencode(name) for name in names] if isinstance(given, bytes) else list(names)

    def _scandir(self, path: Any = None) -> Any:
        given = "." if path is None else path
        if not self.overlay.touched():
            return posix.scandir(given)
        by_descriptor = isinstance(given, int)
        found = self.virtual(*((".", given) if by_descriptor else (given,)))
        prefix = "" if by_descriptor else os.path.join(os.fsdecode(given), "")
        entries = [
            Entry(entry, prefix, found, isinstance(os.fspath(given) if not by_descriptor else "", bytes))
            for physical, names in _renamed(self.overlay.layers, given, found)
            for entry in posix.scandir(physical)
            if entry.name in names
        ]
        return _Scan(entries)


def _named(function: Callable[..., Any]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return call


def _as_given(error: OSError, path: Any) -> OSError:
    error.filename = path
    return error


def _renamed(function: Callable[..., Result], path: Any, *args: Any, **options: Any) -> Result:
    """Call; an error names the path as the script gave it."""
    try:
        return function(*args, **options)
    except OSError as error:
        raise _as_given(error, path)  # noqa: B904  (the same error)


class Entry:
    """What ``os.scandir`` yields, for a directory that may be made of two."""

    def __init__(self, entry: os.DirEntry[str], prefix: str, directory: str, as_bytes: bool) -> None:
        self._entry = entry
        self._virtual = os.path.join(directory, entry.name)
        self.name: Any = os.fsencode(entry.name) if as_bytes else entry.name
        self.path: Any = os.fsencode(prefix + entry.name) if as_bytes else prefix + entry.name

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        return self._entry.inode()

    def is_symlink(self) -> bool:
        return self._entry.is_symlink()

    def is_junction(self) -> bool:
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        if follow_symlinks and self.is_symlink():
            return os.path.isdir(self._virtual)
        return self._entry.is_dir(follow_symlinks=False)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        if follow_symlinks and self.is_symlink():
            return os.path.isfile(self._virtual)
        return self._entry.is_file(follow_symlinks=False)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self._virtual, follow_symlinks=follow_symlinks)


class _Scan:
    def __init__(self, entries: list[Entry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> _Scan:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def _replace_in_pathlib() -> None:
    """Python 3.10 keeps the functions of ``os`` in a class of pathlib's, where one of Python would become a method."""
    import pathlib

    accessor = pathlib._NormalAccessor  # type: ignore[attr-defined]
    for name, value in list(vars(accessor).items()):
        replacement = getattr(os, name, None)
        if value is not None and value in (getattr(posix, name, None), replacement):
            setattr(accessor, name, staticmethod(replacement))  # type: ignore[arg-type]
    accessor.open = staticmethod(io.open)
